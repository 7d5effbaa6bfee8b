from __future__ import annotations

from pathlib import Path

import pytest

from course_utils.evaluate.intervals import Estimate
from course_utils.lab import ledger
from course_utils.lab.claims import ClaimError, claim, start, table
from course_utils.lab.ledger import ledger_markdown, read_lines


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "claims.jsonl"
    monkeypatch.setenv("COURSE_LEDGER", str(path))
    start("01_test")
    return path


def test_a_claim_is_printed_recorded_and_shown(
    lines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim("S01.x", "Retrieval helps", Estimate(0.5, 0.4, 0.6, 80), holds=True)
    printed = capsys.readouterr().out
    assert printed.startswith(
        "S01.x holds: Retrieval helps (0.5, 95 % interval 0.4 to 0.6, n = 80)"
    )
    shown = table()
    assert "<td>S01.x</td>" in shown.data and repr(shown) == "claims table"
    entry = read_lines(lines)["01_test"]
    assert entry["claims"][0]["interval"] == [0.4, 0.6]
    assert entry["peak_bytes"] > 1e7 and entry["seconds"] >= 0
    assert "| S01.x | Retrieval helps | 0.5 | 0.4 to 0.6 | 80 | holds |" in ledger_markdown(
        {"n": entry}
    )


def test_the_readme_counts_what_was_contradicted(lines: Path) -> None:
    claim("S01.x", "It helps", 0.5, holds=True)
    claim("S01.y", "Always", 0.1, holds=True, contradicted="Not here.")
    shown = ledger_markdown(read_lines(lines))
    assert shown.startswith("2 claims; 1 of them contradict")
    assert "| contradicted: Not here. |" in shown and shown.count("<details>") == 1


def test_a_claim_that_does_not_hold_raises_and_is_not_recorded(lines: Path) -> None:
    with pytest.raises(ClaimError, match=r"S02\.y does not hold here"):
        claim("S02.y", "Never", 0.1, n=3, holds=False)
    assert not lines.exists()


def test_a_contradiction_is_recorded_as_one(lines: Path) -> None:
    made = claim("S03.z", "It does not", 0.0, n=9, holds=True, contradicted="Too small a model.")
    assert made.verdict == "contradicted" and str(made).endswith("Too small a model.")


def test_a_claim_made_twice_is_kept_once(lines: Path) -> None:
    claim("S01.x", "First", 1, holds=True)
    claim("S01.x", "Second", 2, holds=True)
    assert [c["statement"] for c in read_lines(lines)["01_test"]["claims"]] == ["Second"]
    assert "First" not in table().data


def test_text_in_a_table_is_escaped(lines: Path) -> None:
    claim("S01.x", "<b>&", 1, holds=True)
    assert "&lt;b&gt;&amp;" in table().data


def test_no_ledger_yet_is_empty(tmp_path: Path) -> None:
    assert ledger.load_ledger(tmp_path / "none.json") == {}
