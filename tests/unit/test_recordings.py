"""Recordings are replayed, renewed, resumed, and never hide a change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from course_utils.models import recordings
from course_utils.models.cache import cached_by_model
from course_utils.models.generator import LanguageModel
from course_utils.models.recordings import RecordingError, read_recording
from course_utils.models.registry import REGISTRY
from course_utils.tune.adapters import attached
from course_utils.tune.recipes import Recipe
from course_utils.tune.training import train
from notebooks.experiments import recording

NOTEBOOK = "01_test"
SHA256 = "a" * 64


@pytest.fixture
def mindful(llm: LanguageModel) -> LanguageModel:
    llm.name, llm.remember = "tiny", True
    llm.loaded_from(SHA256)
    return llm


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Run the notebook again, in a new process as it were."""
    for name in ("COURSE_LIVE", "COURSE_RECORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(recordings, "_current", recordings.Recordings(NOTEBOOK, folder))
    (folder / "used.jsonl").unlink(missing_ok=True)


def shout(_: LanguageModel, some: list[Any]) -> Iterator[dict[int, Any]]:
    for place, text in enumerate(some):
        yield {place: [text.upper(), 0.1]}


def refuse(_: LanguageModel, some: list[Any]) -> list[Any]:
    raise AssertionError(f"asked: {some}")


def record(llm: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch, texts: str) -> Path:
    begin(folder, monkeypatch, COURSE_RECORD="1")
    cached_by_model(llm, ["shout"], list(texts), shout)
    (path,) = recording.finish_answers(NOTEBOOK, folder / "used.jsonl", folder)
    return path


def test_a_notebook_replays_what_was_recorded(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(mindful, folder, monkeypatch, "bab")
    assert [json.loads(line).get("answer") for line in path.read_text().splitlines()] == [
        None,
        ["B", 0.1],
        ["A", 0.1],
    ]
    begin(folder, monkeypatch)
    assert cached_by_model(mindful, ["shout"], list("ab"), refuse) == [["A", 0.1], ["B", 0.1]]
    assert recordings.current().summary().startswith("2 answers recorded on ")
    assert len(recording.read_used(folder / "used.jsonl")["tiny"]) == 2


def test_a_changed_prompt_or_setting_is_asked_and_its_line_is_unused(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(mindful, folder, monkeypatch, "ab")
    for key, text in ((["shout"], "c"), (["shout", 5], "a")):
        begin(folder, monkeypatch)
        with pytest.raises(AssertionError, match="asked"):
            cached_by_model(mindful, key, [text], refuse)
    begin(folder, monkeypatch)
    cached_by_model(mindful, ["shout"], list("ac"), shout)
    unused = read_recording(path).lines.keys() - recording.read_used(folder / "used.jsonl")["tiny"]
    assert unused == {'["shout","b"]'}


def test_an_interrupted_recording_goes_on(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(_: LanguageModel, some: list[Any]) -> Iterator[dict[int, Any]]:
        yield {0: "first"}
        raise KeyboardInterrupt

    begin(folder, monkeypatch, COURSE_RECORD="1")
    with pytest.raises(KeyboardInterrupt):
        cached_by_model(mindful, ["shout"], list("ab"), stops)
    (partial,) = folder.glob("*.partial")
    partial.write_text(partial.read_text() + '{"ask": ["sho')  # the machine went down here
    begin(folder, monkeypatch, COURSE_RECORD="1")
    assert cached_by_model(mindful, ["shout"], list("ab"), shout) == ["first", ["B", 0.1]]
    (path,) = recording.finish_answers(NOTEBOOK, folder / "used.jsonl", folder)
    assert len(read_recording(path).lines) == 2 and not partial.exists()


def test_what_a_notebook_no_longer_asks_is_dropped(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folder / f"{NOTEBOOK}.old-model.jsonl"
    old.write_text("{}\n")
    begin(folder, monkeypatch, COURSE_RECORD="1")
    cached_by_model(mindful, ["shout"], list("ab"), shout)
    begin(folder, monkeypatch, COURSE_RECORD="1")  # the notebook was changed in between
    cached_by_model(mindful, ["shout"], ["b"], refuse)
    (path,) = recording.finish_answers(NOTEBOOK, folder / "used.jsonl", folder)
    assert list(read_recording(path).lines) == ['["shout","b"]'] and not old.exists()


def test_only_the_model_as_it_was_loaded_is_replayed(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(mindful, folder, monkeypatch, "a")
    chat = [{"role": role, "content": "the port"} for role in ("user", "assistant")]
    adapter = train(mindful, [chat], Recipe(rank=2, learning_rate=0.1))
    begin(folder, monkeypatch)
    with attached(mindful, adapter), pytest.raises(AssertionError, match="asked"):
        cached_by_model(mindful, ["shout"], ["a"], refuse)
    assert cached_by_model(mindful, ["shout"], ["a"], refuse) == [["A", 0.1]]
    mindful.tokenizer.chat_template += " "
    with pytest.raises(AssertionError, match="asked"):
        cached_by_model(mindful, ["shout"], ["a"], refuse)


@pytest.mark.parametrize("field", ["sha256", "version"])
def test_other_weights_or_older_code_are_not_replayed(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    path = record(mindful, folder, monkeypatch, "a")
    first, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps(json.loads(first) | {field: "another"}) + "\n" + rest)
    begin(folder, monkeypatch)
    with pytest.raises(AssertionError, match="asked"):
        cached_by_model(mindful, ["shout"], ["a"], refuse)


def test_a_live_run_uses_no_recording(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(mindful, folder, monkeypatch, "a")
    begin(folder, monkeypatch, COURSE_LIVE="1")
    with pytest.raises(AssertionError, match="asked"):
        cached_by_model(mindful, ["shout"], ["a"], refuse)


def test_vectors_alone_can_be_live(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(mindful, folder, monkeypatch, "a")
    begin(folder, monkeypatch, COURSE_LIVE="vectors")
    assert cached_by_model(mindful, ["shout"], ["a"], refuse) == [["A", 0.1]]


@pytest.mark.parametrize("damage", ["", "[]\n", "{}\n", "+{}\n", '+{"ask": ["sh', "+{\n"])
def test_a_damaged_recording_says_what_to_do(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    path = record(mindful, folder, monkeypatch, "a")
    added = damage.startswith("+")  # else nothing else is in the file
    path.write_text(path.read_text() + damage[1:] if added else damage)
    with pytest.raises(RecordingError, match="restore it with git"):
        read_recording(path)


@pytest.mark.parametrize("change", [('"A"', '"B"'), ('["shout"]', '["shout", 5]')])
def test_a_line_that_was_changed_by_hand_is_found(
    mindful: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]
) -> None:
    path = record(mindful, folder, monkeypatch, "a")
    text = path.read_text()
    assert text.count(change[0]) == 1
    path.write_text(text.replace(*change))
    with pytest.raises(RecordingError, match="not those that were recorded"):
        read_recording(path)


@pytest.mark.parametrize(
    "path", sorted(recordings.RECORDINGS.glob("*.jsonl")), ids=lambda path: path.name
)
def test_the_recordings_of_the_course_are_whole_and_current(path: Path) -> None:
    assert path.read_bytes().endswith(b"\n")
    recording = read_recording(path)
    header = recording.header
    assert header["version"] == LanguageModel.version
    first = json.loads(path.read_text(encoding="utf8").split("\n", 1)[0])
    assert len(first["lines"]) == 64  # the hash that a changed answer does not have
    assert header["sha256"] == REGISTRY[header["model"]].weights_sha256
    assert path.name == f"{header['notebook']}.{header['model']}.jsonl"
    assert (recordings.NOTEBOOKS / f"{header['notebook']}.ipynb").exists()
    assert len(recording.lines) == len(path.read_text(encoding="utf8").split("\n")) - 2
