"""Recordings: the models' answers that the stored notebooks show, kept in the repository.

(The embedder's vectors are recorded too: ``recorded_vectors``.)

``notebooks/recordings`` has a file for each notebook and model. Its first line says which model
answered, when, and on what machine, and holds a hash of the lines behind it: one for each question,
with all settings and the answer. A notebook that reads them shows the same as one that asks, in a
fraction of the time. What is not recorded is asked.

``course record NN`` asks everything again, and COURSE_LIVE=1 runs a notebook without recordings
(COURSE_LIVE=vectors: with the recorded answers only).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_utils.files import NOTEBOOKS, CourseError

RECORDINGS = NOTEBOOKS / "recordings"
FIRST_LINE = ("notebook", "model", "sha256", "version", "date", "machine")
Lines = dict[str, dict[str, Any]]  # key -> the line that answers it


class RecordingError(CourseError):
    """A recording that cannot be read; the message says what to do."""


@dataclass
class Recording:
    """One notebook's answers by one model, as far as they are known."""

    path: Path
    header: dict[str, Any]
    lines: Lines = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # keys that this notebook has asked for
    appends: bool = False  # while it is made: what is asked is written down

    def answers(
        self, key: list[Any], items: Sequence[Any], ask: Callable[[list[Any]], Iterable[dict]]
    ) -> list[Any]:
        """The answers to n items, of which only those are asked that are not recorded.

        Args:
            key: what is asked, and the settings that decide the answer.
            items: n prompts, each with what belongs to it.
            ask: is given some of the items, and returns their answers batch by batch, each batch
                as {place in that list: answer}.
        """
        names = [line_key(key, item) for item in items]
        missing = dict(zip(names, items, strict=True))
        for name in self.lines.keys() & missing.keys():
            del missing[name]
        known = {name: self.lines[name]["answer"] for name in names if name in self.lines}
        asked = list(missing)
        for batch in ask([missing[name] for name in asked]) if asked else ():
            for place, answer in batch.items():
                name = asked[place]
                known[name] = json.loads(json.dumps(answer))  # as it will be read
                if self.appends:
                    self._append(name, {"ask": key, "item": missing[name], "answer": answer})
        note_use(self.header["model"], [name for name in names if name in self.lines], self.used)
        return [known[name] for name in names]

    def _append(self, name: str, line: dict[str, Any]) -> None:
        """Write an answer down before the next is asked: an interruption loses none."""
        append_lines(self.path, [line] if self.path.exists() else [self.header, line])
        self.lines[name] = line


def note_use(of: str, names: Iterable[str], used: set[str]) -> None:
    """Note what was needed, in the file that COURSE_RECORDINGS_USED names too, if it names one.

    Args:
        of: the model.
        names: the keys.
        used: those noted before; the new ones are added.
    """
    new = [name for name in dict.fromkeys(names) if name not in used]
    used.update(new)
    if path := os.environ.get("COURSE_RECORDINGS_USED"):
        append_lines(Path(path), [[of, name] for name in new])


def append_lines(path: Path, lines: Iterable[Any]) -> None:
    """Write lines of JSON at the end of a file; its folder is made when missing."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf8") as file:
        file.write(lines_text(lines))


def line_key(key: list[Any], item: Any) -> str:
    """What names an answer within a recording: the question and all settings, as canonical JSON."""
    return json.dumps([*key, item], ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        RecordingError: the file is damaged, by half a line for instance, or was changed by hand.
    """
    try:
        header, *lines = read_json_lines(path)
        if "lines" in header and header["lines"] != lines_digest(lines):
            raise ValueError("its lines are not those that were recorded")
        by_key = {line_key(line["ask"], line["item"]): line for line in lines}
        if not all("answer" in line for line in lines):
            raise ValueError("a line without an answer")
        return Recording(path, {name: header[name] for name in FIRST_LINE}, by_key)
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"{path.name} is not a recording ({error!r}); restore it with git, or delete it and "
            "run `course record`."
        ) from error


class Recordings:
    """The recordings of the notebook that runs in this process, by model."""

    def __init__(self, notebook: str = "", folder: Path = RECORDINGS) -> None:
        self.notebook, self.folder = notebook, folder
        self.making = bool(notebook) and os.environ.get("COURSE_RECORD") == "1"
        live = os.environ.get("COURSE_LIVE", "")
        self.on = bool(notebook) and (self.making or live != "1")
        self.embeds = live == "vectors" and not self.making  # vectors are computed again
        self.opened: dict[str, Recording] = {}
        self.vectors: dict[str, Any] = {}  # embedder -> VectorRecording, or None without a file

    def of(self, model: str, sha256: str, version: int) -> Recording | None:
        """The recording of a model's answers; None if there is none to use.

        Args:
            model: its name in the registry.
            sha256: of the file of its weights.
            version: of the code that decodes and scores; an older one's answers are not used.
        """
        if not self.on:
            return None
        if model not in self.opened:
            header = header_of(self.notebook, model, sha256, version)
            self.opened[model] = self._open(header)
        return self.opened[model]

    def _open(self, header: dict[str, Any]) -> Recording:
        path = self.folder / f"{self.notebook}.{header['model']}.jsonl"
        if self.making:
            path = partial_of(path)
            drop_half_line(path)
        found = read_recording(path) if path.exists() else Recording(path, header)
        if any(found.header[name] != header[name] for name in ("sha256", "version")):
            found = Recording(path, header)
            if self.making:
                path.unlink()
        found.appends = self.making
        return found

    def summary(self) -> str:
        """What was read from recordings, in a sentence; empty if nothing was."""
        both = [("answers", *pair) for pair in self.opened.items()]
        both += [("vectors", *pair) for pair in self.vectors.items() if pair[1]]
        parts = [
            f"{len(each.used)} {what} recorded on {each.header['date']} by {model}"
            for what, model, each in both
            if each.used
        ]
        return "; ".join(parts)


def header_of(notebook: str, model: str, sha256: str, version: int) -> dict[str, Any]:
    """The first line of a recording: who answers, and where it comes from."""
    date = datetime.date.today().isoformat()
    which = {"notebook": notebook, "model": model, "sha256": sha256, "version": version}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return which | {"date": date, "machine": machine}


def drop_half_line(path: Path) -> None:
    """Cut off what an interruption left unfinished at the end of a file."""
    if path.exists():
        whole, line_break, _ = path.read_bytes().rpartition(b"\n")
        with path.open("rb+") as file:
            file.truncate(len(whole + line_break))
        if not line_break:
            path.unlink()


def partial_of(path: Path) -> Path:
    """Where a recording grows until its notebook has run to the end."""
    return path.with_name(path.name + ".partial")


def lines_digest(lines: list[Any]) -> str:
    """What the first line of a recording says of the others: a hash of their text."""
    return hashlib.sha256(lines_text(lines).encode()).hexdigest()


def lines_text(lines: Iterable[Any]) -> str:
    """Lines of JSON, each with its line break."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read_json_lines(path: Path) -> Iterator[Any]:
    """The lines of a file of JSON.

    Raises:
        ValueError: one is damaged, or the last one has no end.
    """
    *texts, rest = path.read_text(encoding="utf8").split("\n")
    if rest:
        raise ValueError("its last line is not complete")
    yield from map(json.loads, texts)


_current = Recordings()


def use_recordings(notebook: str) -> None:
    """From here on, answer from a notebook's recordings; the name "" switches them off."""
    global _current
    _current = Recordings(notebook)


def current() -> Recordings:
    """The recordings in use."""
    return _current
