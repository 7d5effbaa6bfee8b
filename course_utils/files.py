"""Shared by every folder: the base of our errors, where things lie, safe writing, progress."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent  # the repository, in a clone
DATASETS = ROOT / "datasets"
NOTEBOOKS = ROOT / "notebooks"


class CourseError(Exception):
    """Something a user can fix. The message is one sentence: what is wrong, and what to do."""


class InputError(CourseError, ValueError):
    """An argument, a file or an example that cannot be used."""


def in_repository(path: Path) -> Path:
    """A file or folder of the course's repository, which an installed wheel does not have.

    Raises:
        CourseError: it is not here.
    """
    if not path.exists():
        raise CourseError(
            f"{path} is not here: the notebooks and data sets come with the course's repository; "
            "clone it and run `pip install -c constraints.txt -e .` there."
        )
    return path


def cache_dir() -> Path:
    """The folder for models and derived data (COURSE_CACHE), created if it is missing.

    Raises:
        CourseError: the folder cannot be created.
    """
    import platformdirs

    default = platformdirs.user_cache_dir("rag-or-finetuning")
    return _folder("COURSE_CACHE", default, "The cache folder {folder}")


def answers_dir() -> Path:
    """The folder for a learner's answers (COURSE_ANSWERS), created if it is missing.

    Raises:
        CourseError: the folder cannot be created.
    """
    import platformdirs

    default = platformdirs.user_data_dir("rag-or-finetuning")
    return _folder("COURSE_ANSWERS", default, "The folder {folder} for your answers")


def _folder(variable: str, default: str, what: str) -> Path:
    folder = Path(os.environ.get(variable) or default).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"{what.format(folder=folder)} cannot be made ({error.strerror}); "
            f"set {variable} to a folder you can write to."
        ) from error
    return folder


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Write a file completely or not at all.

    The block writes to a temporary file beside ``path``. When the block ends without an error, that
    file takes the place of ``path`` in one step, so an interruption never leaves half a file.

    Args:
        path: the file to write or replace; its folder must exist.

    Yields:
        The temporary file's path.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with replacing(target) as partial:
        ...     _ = partial.write_text("1 2 3")
        >>> target.read_text()
        '1 2 3'
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # otherwise a power cut can leave the new name on an empty file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file as UTF-8, completely or not at all; see ``replacing``."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf8", newline="")


def progress(
    items: Iterable[Any] | None = None, label: str = "", total: int | None = None, unit: str = "it"
) -> Any:
    """A tqdm bar that clears itself, and is silent while outputs are stored (COURSE_PROGRESS=0).

    Args:
        items: what to iterate over; None to call ``update`` by hand.
        label: shown before the bar.
        total: how many items there will be, if ``items`` has no length.
        unit: what is counted; "B" shows megabytes.
    """
    from tqdm import tqdm

    silent = os.environ.get("COURSE_PROGRESS") == "0"
    settings: Any = {"unit": unit, "unit_scale": unit == "B"}
    return tqdm(items, label, total, leave=False, disable=silent, delay=1, **settings)
