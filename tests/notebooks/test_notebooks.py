"""nbval, strictly, on every notebook: cold kernel, no network, memory limited, one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import limits
import pytest
from offline import can_cut, nbval

from course_utils import files
from course_utils.grade.check import grade
from course_utils.grade.exercises import load_exercises, rebuilt_names
from course_utils.lab import ledger
from course_utils.models import fetching, recordings, registry

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 1.8e9
EXEMPT = "10_beyond_one_machine"  # beside its kernel Ray's processes take 3.3 GB; not for Binder


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the models, and without vectors, answers and adapters of earlier runs."""
    for name in registry.REGISTRY:  # notebooks run without a network
        fetching.fetch(name)
    folder = tmp_path_factory.mktemp("cache")
    (folder / "models").symlink_to(files.cache_dir() / "models", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def way() -> limits.Way:
    return limits.find_way()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_as_stored_claims_hold_and_memory_suffices(
    path: Path, run_of: Path, cold: Path, way: limits.Way, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, log = run_of / f"{path.stem}.jsonl", run_of / f"{path.stem}.log"
    env = os.environ | {"COURSE_LEDGER": str(lines), "COURSE_PROGRESS": "0"}
    used = run_of / f"{path.stem}.used"
    env |= {"COURSE_CACHE": str(cold), "COURSE_RECORDINGS_USED": str(used)}
    most, limit = limits.MOST_BYTES, f"at most {limits.MOST_BYTES / 1e9:g}, by {way.name}"
    if path.stem == EXEMPT:
        way, most, limit = limits.Way("nothing", []), sys.maxsize, "no limit"
    with log.open("wb") as out:
        status, resident = limits.run(
            nbval(path), way, most, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT
        )
    assert status == 0, (
        f"{resident / 1e9:.2f} GB ({limit})\n" + log.read_text(errors="replace")[-10000:]
    )
    measured = ledger.read_lines(lines)[path.stem]
    with capsys.disabled():
        print(
            f"\n{path.stem}: {measured['seconds']:.0f} s, "
            f"peak {measured['peak_bytes'] / 1e9:.2f} GB, {resident / 1e9:.2f} with what runs it "
            f"({limit}), "
            f"network {'cut off' if can_cut() else 'NOT cut off: no namespaces here'}"
        )
    assert measured["peak_bytes"] < MOST_BYTES
    stored = {c["id"] for c in ledger.load_ledger()[path.stem]["claims"]}
    assert {c["id"] for c in measured["claims"]} == stored
    if os.environ.get("COURSE_LIVE") != "1":
        _nothing_recorded_is_unused(path.stem, used)
    _exercises_agree(lines)


def _nothing_recorded_is_unused(notebook: str, used: Path) -> None:
    """A line that no cell reads is from another version of the notebook: record it again."""
    needed = recordings.read_used(used)
    for path in recordings.RECORDINGS.glob(f"{notebook}.*.jsonl"):
        recording = recordings.read_recording(path)
        unused = recording.lines.keys() - needed.get(recording.header["model"], set())
        assert not unused, f"{path.name}: {len(unused)} unused lines, such as {min(unused)}"


def _exercises_agree(lines: Path) -> None:
    """Each solution passes with the notebook's own names, and again without the notebook."""
    for text in lines.read_text(encoding="utf8").splitlines():
        line = json.loads(text)
        if "exercise" in line:
            assert line["outcome"] == "passed", line
            exercise = load_exercises()[line["exercise"]]
            result = grade(exercise, line["answer"], rebuilt_names(exercise.module))
            assert result.outcome == "passed", (line, result)


def test_the_readme_shows_the_ledger() -> None:
    assert ledger.ledger_markdown(ledger.load_ledger()) in (ROOT / "README.md").read_text()
