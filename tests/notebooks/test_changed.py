"""`make quick` runs the notebooks that a change can touch, and no others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import changed
import pytest

EVERY = [path.name[:2] for path in sorted((changed.ROOT / "notebooks").glob("[0-9]*.ipynb"))]


@pytest.mark.parametrize(
    ("file", "numbers"),
    [
        ("README.md", []),
        ("tests/unit/test_cache.py", []),
        ("course_utils/scale/clusters.py", ["10"]),
        ("course_utils/tune/losses.py", ["06", "07", "08"]),  # in 07 and 08 behind training
        ("course_utils/decision/costs.yaml", ["00", "06", "09"]),  # 06 by an exercise
        ("notebooks/exercises/06_lora_finetuning.yaml", ["06"]),
        ("notebooks/05_evaluation.ipynb", ["05"]),
        ("notebooks/recordings/05_evaluation.SmolLM2-135M-Instruct.jsonl", ["05"]),
        ("datasets/company.yaml", EVERY),
        ("constraints.txt", EVERY),
    ],
)
def test_a_file_touches_what_is_built_on_it(file: str, numbers: list[str]) -> None:
    assert changed.touched([file]) == numbers


def test_the_front_door_is_seen_through() -> None:
    code = "from course_utils import FusedRetriever"
    assert "course_utils/search/fusion.py" in changed.modules_behind([code])


def test_vectors_touch_the_notebooks_that_search() -> None:
    found = changed.touched(["notebooks/recordings/all-MiniLM-L6-v2.vectors.npz"])
    assert {"01", "02", "03", "04", "05", "08"} <= set(found)
    assert "06" not in found


def test_new_committed_and_uncommitted_files_count(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("committed", "changed", "same"):
        (tmp_path / name).write_text("one")
        git("add", name)
        git("commit", "--message", name)
    (tmp_path / "changed").write_text("two")
    (tmp_path / "new").write_text("one")
    assert changed.changed_files("HEAD", tmp_path) == ["changed", "new"]
    assert changed.changed_files("HEAD~2", tmp_path) == ["changed", "same", "new"]
    with pytest.raises(SystemExit, match="git cannot compare with 'nowhere'"):
        changed.changed_files("nowhere", tmp_path)
