"""Recorded vectors: those of the course's own chunks and questions, kept in the repository.

One file for each embedder holds every vector once, under a hash of the embedder and the text, and
says which notebooks need it. A number keeps three of its four bytes, which is right to nearly five
digits; a cosine changes in the sixth at most. Bytes of one rank lie together, because the first
ones are so alike that they can be packed.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from course_utils.files import replacing
from course_utils.models import recordings
from course_utils.models.recordings import RECORDINGS, RecordingError
from course_utils.models.registry import REGISTRY

PLANES = {"first": 24, "second": 16, "third": 8}  # byte of a number -> bits below it


@dataclass
class VectorRecording:
    """One embedder's vectors, as far as they are known."""

    path: Path
    model: str
    vectors: dict[str, np.ndarray] = field(default_factory=dict)  # digest -> (dimension,) float32
    needed: dict[str, int] = field(default_factory=dict)  # digest -> a bit for each notebook
    about: dict[str, str] = field(default_factory=dict)
    appends: bool = False  # while it is made
    used: set[str] = field(default_factory=set)

    def find(self, keys: Sequence[str]) -> dict[int, np.ndarray]:
        """Vectors by their text's place in ``keys``, of the texts that are recorded."""
        digests = [digest_of(key) for key in keys]
        found = {i: self.vectors[each] for i, each in enumerate(digests) if each in self.vectors}
        lacking = [key.split("\0")[-1] for i, key in enumerate(keys) if i not in found]
        new = [each for each in dict.fromkeys(digests) if each not in self.used]
        self.used.update(new)
        recordings.note_use(f"{self.model} vectors", new)
        recordings.note_use(f"{self.model} lacks", lacking)
        return found

    def add(self, keys: Sequence[str], vectors: Iterable[np.ndarray]) -> None:
        """While it is made, write new vectors down."""
        if self.appends:
            new = dict(zip(map(digest_of, keys), vectors, strict=True))
            lines = [[each, base64.b64encode(row.tobytes()).decode()] for each, row in new.items()]
            recordings.append_lines(self.path, lines)
            self.vectors |= new


def digest_of(key: str) -> str:
    """What a vector is filed under; ``key`` holds the embedder's fingerprint and the text."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def recorded_by(embedder: Any) -> VectorRecording | None:
    """The recording of an embedder's vectors, for the notebook that runs in this process.

    None if there is none to use: only embedders of the registry are recorded, as they were loaded.
    """
    session, name = recordings.current(), getattr(embedder, "model_name", "")
    if not session.on or name not in REGISTRY or getattr(embedder, "variant", ""):
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
    known = read_partial_vectors(partial)
    return VectorRecording(partial, model, known, about={"date": _today()}, appends=True)


def _today() -> str:
    return datetime.date.today().isoformat()


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
            about = json.loads(str(stored["about"]))
            bits = sum(stored[plane].astype("<u4") << below for plane, below in PLANES.items())
        vectors = dict(zip(digests, bits.view("<f4"), strict=True))
        bits_of = dict(zip(digests, needed, strict=True))
        return VectorRecording(path, about["model"], vectors, bits_of, about)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RecordingError(
            f"{path.name} holds no vectors ({error!r}); restore it with git, or delete it and run "
            "`course record`."
        ) from error


def write_vectors(recording: VectorRecording) -> None:
    """Write a file of vectors; the same vectors give the same bytes."""
    digests = sorted(recording.needed)
    rows = np.stack([recording.vectors[digest] for digest in digests]).astype("<f4")
    bits = rows.view("<u4") + 0x80  # so that leaving out the last byte rounds
    planes: dict[str, Any] = {
        plane: (bits >> below).astype(np.uint8) for plane, below in PLANES.items()
    }
    about = {"model": recording.model, "sha256": REGISTRY[recording.model].weights_sha256}
    about |= {"date": _today(), "machine": recordings.machine()}
    arrays = planes | {"digests": np.array(digests), "about": np.array(json.dumps(about))}
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
    done, bit, noted = [], 1 << int(notebook[:2]), recordings.read_used(used)
    for model in REGISTRY:
        path, partial = vectors_file(model, folder), partial_vectors(notebook, model, folder)
        if not (path.exists() or partial.exists()):
            continue
        kept = read_vectors(path) if path.exists() else VectorRecording(path, model)
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
