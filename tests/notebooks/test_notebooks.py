"""nbval, strictly, on every notebook: cold kernel, no network, memory limited.

Two run at once where memory allows, each with half of the cores; what says "alone" has them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import limits
import pytest
from offline import can_cut, nbval

from course_utils import files
from course_utils.grade.check import grade
from course_utils.grade.exercises import load_exercises, rebuilt_names
from course_utils.lab import ledger
from course_utils.models import fetching, recorded_vectors, recordings, registry
from notebooks.experiments.recording import read_used

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
MOST_BYTES = 1.8e9
EXEMPT = "10_beyond_one_machine"  # beside its kernel Ray's processes take 3.3 GB; not for Binder
EMBEDDED_AGAIN = "03"  # short, and all its vectors are recorded
# The longest are begun first. A worker holds two, so a short one waits behind each of them.
ORDER = ("06", "00", "07", "09", "04", "05", "02", "01", "03", "08")


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the models, and without vectors, answers and adapters of earlier runs.

    What runs beside this process shares it, as a learner's notebooks do.
    """
    for weights in registry.members_of("small"):  # notebooks run without a network
        fetching.fetch(weights.name)
    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if WORKERS > 1 else shared) / "cold"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "models").symlink_to(files.cache_dir() / "models", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def way() -> limits.Way:
    return limits.find_way()


def in_order() -> list[Any]:
    """The notebooks in the order in which they are begun; Ray's is run alone."""
    rank = {number: place for place, number in enumerate(ORDER)}
    ordered = sorted(NOTEBOOKS, key=lambda path: rank.get(path.stem[:2], len(rank)))
    alone = {EXEMPT: [pytest.mark.alone]}
    return [pytest.param(path, id=path.stem, marks=alone.get(path.stem, [])) for path in ordered]


@pytest.mark.parametrize("path", in_order())
def test_outputs_are_as_stored_claims_hold_and_memory_suffices(
    path: Path,
    run_of: Path,
    cold: Path,
    way: limits.Way,
    record_property: Callable[[str, object], None],
) -> None:
    lines, log = run_of / f"{path.stem}.jsonl", run_of / f"{path.stem}.log"
    used = run_of / f"{path.stem}.used"
    env = {"COURSE_LEDGER": str(lines), "COURSE_CACHE": str(cold)}
    env = _variables(env | {"COURSE_RECORDINGS_USED": str(used)})
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
    took = (
        f"{path.stem}: {measured['seconds']:.0f} s, peak {measured['peak_bytes'] / 1e9:.2f} GB, "
        f"{resident / 1e9:.2f} with what runs it ({limit}), "
        f"network {'cut off' if can_cut() else 'NOT cut off: no namespaces here'}"
    )
    record_property("took", took)
    assert measured["peak_bytes"] < MOST_BYTES
    _claims_agree(ledger.measured_claims({path.stem: measured}), path.stem)
    if os.environ.get("COURSE_LIVE") != "1":
        _recordings_fit(path.stem, used)
    _exercises_agree(lines)


def test_recorded_vectors_are_what_would_be_computed(
    tmp_path: Path, cold: Path, way: limits.Way
) -> None:
    """One notebook without recorded vectors, from a cache folder of its own.

    Of its answers, as of all notebooks', a sample is asked again (``tests/slow``).
    """
    (tmp_path / "models").symlink_to(cold / "models", target_is_directory=True)
    env = {"COURSE_CACHE": str(tmp_path), "COURSE_LIVE": "vectors"}
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith(EMBEDDED_AGAIN))
    log = tmp_path / "log"
    with log.open("wb") as out:
        status, _ = limits.run(
            nbval(path), way, cwd=ROOT, env=_variables(env), stdout=out, stderr=subprocess.STDOUT
        )
    assert status == 0, log.read_text(errors="replace")[-10000:]


def _variables(own: dict[str, str]) -> dict[str, str]:
    """The environment of a notebook's test; beside another one it gets half of the cores."""
    made = os.environ | {"COURSE_PROGRESS": "0"} | own
    if WORKERS > 1:
        made["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // WORKERS))
    return made


def _claims_agree(made: list[ledger.Claim], notebook: str) -> None:
    """The same claims as stored, each value inside the stored interval, with the same verdict.

    What was measured once, without an interval, are seconds: another machine has others.
    """
    stored = {c.id: c for c in ledger.measured_claims({notebook: ledger.load_ledger()[notebook]})}
    assert {c.id for c in made} == stored.keys()
    for claim in made:
        before = stored[claim.id]
        if before.kind == "measured" and not before.interval:
            continue
        assert claim.verdict == before.verdict, f"stored: {before}; now: {claim}"
        if before.interval and claim.value is not None:
            low, high = before.interval
            assert low <= claim.value <= high, f"stored: {before}; now: {claim}"


def _recordings_fit(notebook: str, used: Path) -> None:
    """A line or vector that no cell reads is from another version of the notebook: record it again.

    So is a text of the notebook's own that has no vector.
    """
    needed, bit = read_used(used), 1 << int(notebook[:2])
    for path in recordings.RECORDINGS.glob(f"{notebook}.*.jsonl"):
        recording = recordings.read_recording(path)
        unused = recording.lines.keys() - needed.get(recording.header["model"], set())
        assert not unused, f"{path.name}: {len(unused)} unused lines, such as {min(unused)}"
    for path in recordings.RECORDINGS.glob("*.npz"):
        vectors = recorded_vectors.read_vectors(path)
        own = {digest for digest, bits in vectors.needed.items() if bits & bit}
        unused = own - needed.get(f"{vectors.header['model']} vectors", set())
        assert not unused, f"{path.name}: {len(unused)} vectors that {notebook} does not use"
        lacking = needed.get(f"{vectors.header['model']} lacks", set())
        assert not lacking, f"{path.name} has no vector of {len(lacking)} texts: {min(lacking)!r}"


@pytest.mark.parametrize("fault", ["", "an unused answer", "an unused vector", "a moved chunk"])
def test_recordings_that_do_not_fit_are_found(tmp_path: Path, fault: str) -> None:
    notebook, used = "08_common_mistakes", tmp_path / "used.jsonl"
    for path in recordings.RECORDINGS.glob(f"{notebook}.*.jsonl"):
        recording = recordings.read_recording(path)
        lines = [[recording.header["model"], name] for name in recording.lines]
        recordings.append_lines(used, lines[1:] if fault == "an unused answer" else lines)
    for path in recordings.RECORDINGS.glob("*.npz"):
        vectors = recorded_vectors.read_vectors(path)
        own = [digest for digest, bits in vectors.needed.items() if bits >> 8 & 1]
        lines = [[f"{vectors.header['model']} vectors", digest] for digest in own]
        recordings.append_lines(used, lines[1:] if fault == "an unused vector" else lines)
        if fault == "a moved chunk":
            recordings.append_lines(used, [[f"{vectors.header['model']} lacks", "The night ferry"]])
    message = {
        "an unused answer": "1 unused lines",
        "an unused vector": "1 vectors that 08",
        "a moved chunk": "'The night ferry'",
    }
    with pytest.raises(AssertionError, match=message[fault]) if fault else contextlib.nullcontext():
        _recordings_fit(notebook, used)


def _exercises_agree(lines: Path) -> None:
    """Each solution passes with the notebook's own names, and again without the notebook."""
    for text in lines.read_text(encoding="utf8").splitlines():
        line = json.loads(text)
        if "exercise" in line:
            assert line["outcome"] == "passed", line
            exercise = load_exercises()[line["exercise"]]
            result = grade(exercise, line["answer"], rebuilt_names(exercise.module))
            assert result.outcome == "passed", (line, result)


def test_claims_md_and_the_readme_show_the_ledger(tmp_path: Path) -> None:
    claims, readme = tmp_path / "CLAIMS.md", tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text(encoding="utf8"), encoding="utf8")
    ledger.write_claims(ledger.load_ledger(), claims, readme)
    for written in (claims, readme):
        assert written.read_text("utf8") == (ROOT / written.name).read_text("utf8")
