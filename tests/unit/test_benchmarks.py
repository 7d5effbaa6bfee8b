from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import measure
from benchmarks.measure import Row

README = f"# Title\n\n{measure.MARKS[0]}old\n{measure.MARKS[1]}\nThe end.\n"


def test_arms_take_turns_and_none_is_always_first() -> None:
    called: list[str] = []

    def arm(name: str) -> dict[str, float]:
        called.append(name)
        return {"seconds": len(called)}

    arms = {name: (lambda name=name: arm(name)) for name in ("a", "b")}
    measured = measure.in_turns(arms, rounds=3)
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert measured == {
        "a": [{"seconds": 1}, {"seconds": 4}, {"seconds": 5}],
        "b": [{"seconds": 2}, {"seconds": 3}, {"seconds": 6}],
    }


def test_rows_pair_the_rounds() -> None:
    measured = {
        "ours": [{"speed": 10.0, "peak": 1.0}, {"speed": 30.0, "peak": 1.0}],
        "theirs": [{"speed": 5.0, "peak": 2.0}, {"speed": 10.0, "peak": 4.0}],
    }
    speed, peak = measure.compare(measured, "ours", "theirs", note="as it comes")
    assert speed == Row("speed", "ours", "theirs", [10, 30], [5, 10], "as it comes")
    assert (measure.ratios(speed), measure.ratios(peak)) == ([2, 3], [0.5, 0.25])
    assert peak.note == ""
    with pytest.raises(ValueError):
        measure.ratios(Row("speed", "ours", "theirs", [1, 2], [1]))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        ([0.41237], "0.412"),
        ([3.0, 1.0, 2.0], "2 (1 to 3)"),
        ([1234.5, 99.96], "667 (100 to 1,234)"),
        ([0.000012], "1.2e-05"),
    ],
)
def test_a_spread_is_the_median_and_the_range(values: list[float], text: str) -> None:
    assert measure.spread(values) == text


def test_results_are_merged_and_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    results, readme = tmp_path / "results.json", tmp_path / "README.md"
    readme.write_text(README)
    rows = [Row("questions a second", "BM25Retriever", "rank_bm25", [20, 40], [10, 10], "same")]
    first = measure.report(rows, ["bm25s"])
    measure.store({"bm25": first}, results, readme)
    alone = [Row("seconds", "the course", "nothing", [2.5])]
    measure.store({"alpha": measure.report(alone, [])}, results, readme)
    assert json.loads(results.read_text())["bm25"] == first
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{measure.MARKS[0]}| benchmark |")
    assert text.endswith(f"{measure.MARKS[1]}\nThe end.\n")
    assert "old" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[2:] == [
        "| alpha | seconds | the course: 2.5 | nothing |  | 1 |  |",
        "| bm25 | questions a second | BM25Retriever: 30 (20 to 40) | rank_bm25: 10 (10 to 10) "
        "| 3 (2 to 4) | 2 | same |",
    ]
    assert f"bm25s {first['versions']['bm25s']}" in text
    measure.store({}, results, readme)
    assert readme.read_text() == text


def test_a_readme_without_marks_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n")
    with pytest.raises(ValueError, match="no place"):
        measure.store({}, tmp_path / "results.json", readme)
    assert readme.read_text() == "# Title\n"


def test_the_readme_shows_the_stored_results() -> None:
    stored = measure.load()
    assert not stored or measure.markdown(stored) in measure.README.read_text(encoding="utf8")
    assert set(stored) <= set(benchmarks.NAMES)


def test_the_readme_names_every_benchmark() -> None:
    text = measure.README.read_text(encoding="utf8")
    assert [name for name in benchmarks.NAMES if f"| {name} |" not in text] == []


def test_a_missing_rival_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    monkeypatch.delitem(sys.modules, "benchmarks.bm25", raising=False)
    assert benchmarks.one("bm25", True, tmp_path / "report.json") == 1
    said = capsys.readouterr().err
    assert said == f"bm25: rank_bm25 is not installed; run `{benchmarks.INSTALL}`.\n"


def test_an_unknown_benchmark_is_named() -> None:
    command = [sys.executable, "-m", "benchmarks", "bm52"]
    done = subprocess.run(command, cwd=measure.FOLDER.parent, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no benchmark 'bm52'; there are bm25, " in done.stderr


def test_every_rival_is_pinned_once() -> None:
    pins = (measure.FOLDER / "requirements.txt").read_text().splitlines()
    names = [pin.partition("==")[0] for pin in pins if not pin.startswith("#")]
    assert all("==" in pin for pin in pins if not pin.startswith("#"))
    shared = (measure.FOLDER.parent / "constraints.txt").read_text().splitlines()
    assert not set(names) & {pin.partition("==")[0] for pin in shared}
