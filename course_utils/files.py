"""Shared by every folder: the base of our errors, the cache folder, safe writing, progress."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from tqdm import tqdm


class CourseError(Exception):
    """Something a user can fix. The message is one sentence: what is wrong, and what to do."""


class InputError(CourseError, ValueError):
    """An argument, a file or an example that cannot be used."""


def cache_dir() -> Path:
    """The folder for models and derived data (COURSE_CACHE), created if it is missing.

    Raises:
        CourseError: the folder cannot be created.
    """
    default = platformdirs.user_cache_dir("rag-or-finetuning")
    folder = Path(os.environ.get("COURSE_CACHE") or default).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"The cache folder {folder} cannot be made ({error.strerror}); "
            "set COURSE_CACHE to a folder you can write to."
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


def progress(items: Iterable[Any] | None = None, label: str = "", total: int | None = None) -> tqdm:
    """A tqdm bar that clears itself, and is silent while outputs are stored (COURSE_PROGRESS=0).

    Args:
        items: what to iterate over; None to call ``update`` by hand.
        label: shown before the bar.
        total: how many items there will be, if ``items`` has no length.
    """
    silent = os.environ.get("COURSE_PROGRESS") == "0"
    return tqdm(items, desc=label, total=total, leave=False, disable=silent, delay=1)
