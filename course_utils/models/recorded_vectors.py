"""Recorded vectors: those of the course's own chunks and questions, kept in the repository.

One file for each embedder holds every vector once, under a hash of the embedder and the text, and
says which notebooks need it. Numbers are kept in 16 bits, which changes a cosine by about a hundred
thousandth. The upper bytes lie together, because they are so alike that they can be packed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from course_utils.models import recordings
from course_utils.models.recordings import RECORDINGS, RecordingError
from course_utils.models.registry import REGISTRY


@dataclass
class VectorRecording:
    """One embedder's vectors, as far as they are known."""

    path: Path
    header: dict[str, Any]  # who made them, when, on what machine
    vectors: dict[str, np.ndarray] = field(default_factory=dict)  # digest -> (dimension,) float32
    needed: dict[str, int] = field(default_factory=dict)  # digest -> a bit for each notebook
    appends: bool = False  # while it is made
    used: set[str] = field(default_factory=set)

    def find(self, keys: Sequence[str]) -> dict[int, np.ndarray]:
        """Vectors by their text's place in ``keys``, of the texts that are recorded."""
        digests = [digest_of(key) for key in keys]
        known = [(i, each) for i, each in enumerate(digests) if each in self.vectors]
        found = {i: as_kept(self.vectors[each]) for i, each in known}
        lacking = [key.split("\0")[-1] for i, key in enumerate(keys) if i not in found]
        recordings.note_use(f"{self.header['model']} vectors", digests, self.used)
        recordings.note_use(f"{self.header['model']} lacks", lacking, set())
        return found

    def add(self, keys: Sequence[str], vectors: Iterable[np.ndarray]) -> None:
        """While it is made, write new vectors down."""
        if self.appends:
            new = dict(zip(map(digest_of, keys), vectors, strict=True))
            lines = [[each, base64.b64encode(row.tobytes()).decode()] for each, row in new.items()]
            recordings.append_lines(self.path, lines)
            self.vectors |= new


def as_kept(vector: np.ndarray) -> np.ndarray:
    """A vector as it is read from its recording: rounded to 16 bits, and of length 1 again.

    A notebook that is being recorded goes on with this one, so that it ranks as its replay will.
    """
    kept = vector.astype("<f2").astype("<f4")
    return kept / np.linalg.norm(kept)


def digest_of(key: str) -> str:
    """What a vector is filed under; ``key`` holds the embedder's fingerprint and the text."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def recorded_by(embedder: Any) -> VectorRecording | None:
    """The recording of an embedder's vectors, for the notebook that runs in this process.

    None if there is none to use: only embedders of the registry are recorded, as they were loaded.
    """
    session, name = recordings.current(), getattr(embedder, "model_name", "")
    changed: str = getattr(embedder, "variant", "")
    if not session.on or session.embeds or name not in REGISTRY or changed:
        return None
    if name not in session.vectors:
        session.vectors[name] = _open(session, name)
    return session.vectors[name]


def _open(session: recordings.Recordings, model: str) -> VectorRecording | None:
    if not session.making:
        path = vectors_file(model, session.folder)
        return read_vectors(path) if path.exists() else None
    partial = partial_vectors(session.notebook, model, session.folder)
    recordings.drop_half_line(partial)
    header = recordings.header_of(session.notebook, model, REGISTRY[model].weights_sha256, 1)
    return VectorRecording(partial, header, read_partial_vectors(partial), appends=True)


def vectors_file(model: str, folder: Path = RECORDINGS) -> Path:
    """Where an embedder's vectors are kept."""
    return folder / f"{model}.vectors.npz"


def partial_vectors(notebook: str, model: str, folder: Path) -> Path:
    """Where a notebook's vectors grow until it has run to the end."""
    return folder / f"{notebook}.{model}.vectors.partial"


def read_partial_vectors(path: Path) -> dict[str, np.ndarray]:
    """What has been recorded so far: {digest: (dimension,) float32}."""
    lines = recordings.read_json_lines(path) if path.exists() else ()
    return {digest: np.frombuffer(base64.b64decode(text), "<f4") for digest, text in lines}


def read_vectors(path: Path) -> VectorRecording:
    """Read a file of vectors.

    Raises:
        RecordingError: it is damaged.
    """
    try:
        with np.load(path) as stored:
            digests, needed = stored["digests"].tolist(), stored["needed"].tolist()
            header = json.loads(str(stored["about"]))
            bits = (stored["upper"].astype("<u2") << 8) | stored["lower"]
        rows = bits.view("<f2").astype("<f4")  # (n, dimension)
        vectors = dict(zip(digests, rows, strict=True))
        return VectorRecording(path, header, vectors, dict(zip(digests, needed, strict=True)))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RecordingError(
            f"{path.name} holds no vectors ({error!r}); restore it with git, or delete it and run "
            "`course record`."
        ) from error
