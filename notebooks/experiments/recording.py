"""Make recordings: ``course record NN``, or, in the repository,
``python -m notebooks.experiments.recording NN``.

Notebooks run, their models compute everything again, and what they computed is put in the place of
what was recorded before. ``course_utils.models.recordings`` and ``recorded_vectors`` read it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from course_utils.files import CourseError, replacing, write_text
from course_utils.lab.running import ASKING_SECONDS, execute_notebook, find_notebooks
from course_utils.models import recordings
from course_utils.models.recorded_vectors import (
    VectorRecording,
    partial_vectors,
    read_partial_vectors,
    read_vectors,
    vectors_file,
)
from course_utils.models.recordings import RECORDINGS
from course_utils.models.registry import REGISTRY


def record_notebooks(
    notebooks: list[Path], cell_seconds: int = ASKING_SECONDS
) -> dict[str, list[Path]]:
    """Execute notebooks, ask their models everything again and keep the answers.

    Interrupted, it goes on where it was with the next call.

    Args:
        notebooks: files, run one after the other.
        cell_seconds: the longest a cell may take.

    Returns:
        {notebook: its recordings}.

    Raises:
        RunError: see ``run_notebooks``; what was asked before is kept for the next call.
    """
    made = {}
    for path in notebooks:
        with tempfile.TemporaryDirectory() as folder:
            used = Path(folder) / "used.jsonl"
            env = {"COURSE_RECORD": "1", "COURSE_RECORDINGS_USED": str(used)}
            # Another model's answers are not recorded, and must not remove those of ours.
            env |= dict.fromkeys(("COURSE_GENERATOR", "COURSE_EMBEDDER", "COURSE_DTYPE"), "")
            execute_notebook(path, env, cell_seconds)
            made[path.stem] = finish_answers(path.stem, used)
            made[path.stem] += finish_vectors(path.stem, used)
    return made


def finish_answers(notebook: str, used: Path, folder: Path = RECORDINGS) -> list[Path]:
    """Put finished recordings in the place of the ones before.

    Lines that the notebook no longer asks for, left by an interrupted run, are dropped.

    Args:
        notebook: its name without ``.ipynb``.
        used: the file that COURSE_RECORDINGS_USED named during the run.
        folder: of the recordings.

    Returns:
        The notebook's recordings; an old one of a model it no longer asks is deleted.
    """
    needed, done = read_used(used), []
    for old in folder.glob(f"{notebook}.*.jsonl"):
        if not recordings.partial_of(old).exists():
            old.unlink()
    for partial in sorted(folder.glob(f"{notebook}.*.jsonl.partial")):
        recording = recordings.read_recording(partial)
        wanted = needed.get(recording.header["model"], set())
        lines = [line for name, line in recording.lines.items() if name in wanted]
        path = partial.with_suffix("")
        first = recording.header | {"lines": recordings.lines_digest(lines)}
        write_text(path, recordings.lines_text([first, *lines]))
        partial.unlink()
        done.append(path)
    return done


def read_used(path: Path) -> dict[str, set[str]]:
    """The keys that a run has used, by model."""
    used: dict[str, set[str]] = {}
    for model, name in recordings.read_json_lines(path) if path.exists() else ():
        used.setdefault(model, set()).add(name)
    return used


def write_vectors(recording: VectorRecording) -> None:
    """Write a file of vectors; the same vectors give the same bytes."""
    digests = sorted(recording.needed)
    rows = np.stack([recording.vectors[digest] for digest in digests]).astype("<f2")
    bits = rows.view("<u2")  # (n, dimension)
    planes: dict[str, Any] = {
        "upper": (bits >> 8).astype(np.uint8),
        "lower": (bits & 0xFF).astype(np.uint8),
    }
    header = np.array(json.dumps(recording.header))
    arrays = planes | {"digests": np.array(digests), "about": header}
    arrays["needed"] = np.array([recording.needed[digest] for digest in digests], np.uint16)
    with replacing(recording.path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def finish_vectors(notebook: str, used: Path, folder: Path = RECORDINGS) -> list[Path]:
    """Put what was recorded for a notebook among the vectors, and drop what nobody needs any more.

    Args:
        notebook: its name without ``.ipynb``; it begins with a number.
        used: the file that COURSE_RECORDINGS_USED named during the run.
        folder: of the recordings.

    Returns:
        The files that were written.
    """
    done, bit, noted = [], 1 << int(notebook[:2]), read_used(used)
    for model in REGISTRY:
        path, partial = vectors_file(model, folder), partial_vectors(notebook, model, folder)
        if not (path.exists() or partial.exists()):
            continue
        header = recordings.header_of(notebook, model, REGISTRY[model].weights_sha256, 1)
        kept = read_vectors(path) if path.exists() else VectorRecording(path, header)
        if not partial.exists() and not any(bits & bit for bits in kept.needed.values()):
            continue  # a notebook that embeds nothing, now as before
        kept.header = header
        others = {digest: bits & ~bit for digest, bits in kept.needed.items()}
        kept.needed = {digest: bits for digest, bits in others.items() if bits}
        for digest, vector in read_partial_vectors(partial).items():
            if digest in noted.get(f"{model} vectors", ()):
                kept.vectors[digest] = vector
                kept.needed[digest] = kept.needed.get(digest, 0) | bit
        if kept.needed:
            write_vectors(kept)
            done.append(path)
        else:
            path.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
    return done


def main() -> None:
    """Record the notebooks that the command line names."""
    try:
        for name, made in record_notebooks(find_notebooks(sys.argv[1:])).items():
            print(f"{name}: {', '.join(path.name for path in made) or 'nothing to record'}")
    except CourseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
