"""Load a checked folder with transformers; what every kind of model shares."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from course_utils.files import CourseError
from course_utils.models.registry import ModelError


@contextmanager
def explained_loading(folder: Path) -> Iterator[None]:
    """Turn the many errors that a missing or damaged file causes into one that says what to do."""
    try:
        yield
    except CourseError:
        raise
    except Exception as error:  # transformers, tokenizers, safetensors and json raise a dozen kinds
        first = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        if isinstance(error, ModuleNotFoundError):
            raise ModelError(f"{folder} needs a package; pip install {error.name}.") from error
        raise ModelError(
            f"The model in {folder} cannot be loaded ({first}); run `course models verify`, "
            "or check that the folder holds config.json, the tokenizer and safetensors."
        ) from error


def load_pretrained(folder: Path, auto_class: str) -> tuple[Any, Any]:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    dtype = os.environ.get("COURSE_DTYPE") or "float32"
    if dtype not in ("float32", "bfloat16"):
        raise ModelError(f"COURSE_DTYPE is {dtype!r}; use float32 or bfloat16.")
    with explained_loading(folder):
        model = getattr(transformers, auto_class).from_pretrained(folder, dtype=dtype)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    release_memory()
    return model.eval(), tokenizer


def read_json(path: Path) -> Any:
    """A JSON file's content; {} when it is missing."""
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}


def weights_digest(model: torch.nn.Module) -> str:
    """Sha256 over the names and values of all parameters: equal if and only if nothing changed."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def release_memory() -> None:
    """Hand freed memory back to the system, where the C library keeps it for itself (Linux).

    Without it a kernel's resident memory is the sum of every step's peak, not the largest.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)
