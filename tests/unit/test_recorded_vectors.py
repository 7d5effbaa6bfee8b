"""Recorded vectors are replayed nearly to the last digit, renewed, shared; no change is hidden."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from llama_index.core.schema import TextNode

from course_utils.models import recorded_vectors, recordings
from course_utils.models.recorded_vectors import VectorRecording, read_vectors
from course_utils.models.recordings import RecordingError
from course_utils.models.registry import REGISTRY
from course_utils.search.retrieval import DenseRetriever
from course_utils.search.vectors import EmbeddingCache
from notebooks.experiments import recording

MODEL = "all-MiniLM-L6-v2"
FIRST, SECOND = "01_first", "02_second"


class Letters:
    """A text's letters, counted; it remembers what it was asked."""

    model_name = MODEL
    fingerprint = "letters"
    variant = ""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        rows = np.array([[1 + text.count(letter) for letter in "abcdefgh"] for text in texts])
        return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def begin(
    folder: Path, monkeypatch: pytest.MonkeyPatch, notebook: str = FIRST, **variables: str
) -> Letters:
    """A notebook in a new process, with its embedder."""
    for name in ("COURSE_LIVE", "COURSE_RECORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(recordings, "_current", recordings.Recordings(notebook, folder))
    (folder / "used.jsonl").unlink(missing_ok=True)
    return Letters()


def cache(letters: Letters) -> EmbeddingCache:
    return EmbeddingCache(letters)  # type: ignore[arg-type]


def record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, texts: Sequence[str], notebook: str = FIRST
) -> Path:
    letters = begin(folder, monkeypatch, notebook, COURSE_RECORD="1")
    cache(letters).encode(texts)
    assert f"{len(set(texts))} vectors recorded on" in recordings.current().summary()
    (path,) = recording.finish_vectors(notebook, folder / "used.jsonl", folder)
    return path


def test_a_notebook_replays_what_was_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(folder, monkeypatch, ["bad", "fed"])
    letters = begin(folder, monkeypatch)
    rows = cache(letters).encode(["fed", "bad", "fed"])
    assert not letters.asked
    assert np.allclose(rows, Letters().encode(["fed", "bad", "fed"]), rtol=2**-11)
    assert recordings.current().summary().startswith("2 vectors recorded on ")
    used = recording.read_used(folder / "used.jsonl")[f"{MODEL} vectors"]
    assert used == read_vectors(path).vectors.keys()


def test_questions_are_recorded_and_a_search_computes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [TextNode(id_=text, text=text) for text in ("bad", "fed", "gag")]

    def search(letters: Letters) -> list[tuple[str, float]]:
        found = DenseRetriever(nodes, letters).search(["a bag"])[0]  # type: ignore[arg-type]
        return [(hit.node_id, hit.get_score()) for hit in found]

    computed = search(begin(folder, monkeypatch, COURSE_RECORD="1"))
    recording.finish_vectors(FIRST, folder / "used.jsonl", folder)
    letters = begin(folder, monkeypatch)
    assert search(letters) == computed and not letters.asked


def test_a_text_that_moved_is_computed_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(folder, monkeypatch, ["bad", "fed"])
    letters = begin(folder, monkeypatch)
    rows = cache(letters).encode(["bad", "head"])
    assert np.allclose(rows, Letters().encode(["bad", "head"]), rtol=2**-11)
    assert letters.asked == ["head"]
    used = recording.read_used(folder / "used.jsonl")
    assert used[f"{MODEL} lacks"] == {"head"}
    assert len(read_vectors(path).vectors.keys() - used[f"{MODEL} vectors"]) == 1  # "fed"


def test_two_notebooks_share_vectors_and_each_renews_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needed(path: Path) -> list[int]:
        return sorted(read_vectors(path).needed.values())

    record(folder, monkeypatch, ["a", "b"])
    assert needed(record(folder, monkeypatch, ["b", "c"], SECOND)) == [1 << 1, 1 << 2, 3 << 1]
    # The first needs neither of its two any more; what only it needed is dropped.
    assert needed(record(folder, monkeypatch, ["d"])) == [1 << 1, 1 << 2, 1 << 2]


def test_a_notebook_that_embeds_nothing_leaves_the_file_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = record(folder, monkeypatch, ["a"]).read_bytes()
    begin(folder, monkeypatch, SECOND, COURSE_RECORD="1")
    assert recording.finish_vectors(SECOND, folder / "used.jsonl", folder) == []
    assert recorded_vectors.vectors_file(MODEL, folder).read_bytes() == before


def test_a_file_that_nobody_needs_is_deleted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(folder, monkeypatch, ["a"])
    begin(folder, monkeypatch, COURSE_RECORD="1")  # the notebook no longer embeds
    assert recording.finish_vectors(FIRST, folder / "used.jsonl", folder) == []
    assert not path.exists()


def test_recording_computes_again_what_the_cache_folder_holds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings.use_recordings("")
    letters = Letters()
    cache(letters).encode(["a"])
    again = begin(folder, monkeypatch, COURSE_RECORD="1")
    cache(again).encode(["a"])
    cache(again).encode(["a"])
    assert letters.asked == again.asked == ["a"]


def test_an_interrupted_recording_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = begin(folder, monkeypatch, COURSE_RECORD="1")
    cache(letters).encode(["a", "gone"])
    (partial,) = folder.glob("*.partial")
    partial.write_text(partial.read_text() + '["half a l')
    letters = begin(folder, monkeypatch, COURSE_RECORD="1")
    cache(letters).encode(["a", "b"])
    assert letters.asked == ["b"]
    (path,) = recording.finish_vectors(FIRST, folder / "used.jsonl", folder)
    assert len(read_vectors(path).vectors) == 2 and not partial.exists()


@pytest.mark.parametrize(
    "change", [{"variant": "int8"}, {"fingerprint": "other"}, {"model_name": "mine"}]
)
def test_another_embedder_is_not_replayed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    record(folder, monkeypatch, ["a"])
    letters = begin(folder, monkeypatch)
    for name, value in change.items():
        setattr(letters, name, value)
    cache(letters).encode(["a"])
    assert letters.asked == ["a"]


@pytest.mark.parametrize("live", ["1", "vectors"])
def test_a_live_run_uses_no_recording(
    folder: Path, monkeypatch: pytest.MonkeyPatch, live: str
) -> None:
    record(folder, monkeypatch, ["a"])
    letters = begin(folder, monkeypatch, COURSE_LIVE=live)
    cache(letters).encode(["a"])
    assert letters.asked == ["a"]


def test_without_a_notebook_questions_are_not_kept(folder: Path) -> None:
    recordings.use_recordings("")
    letters = Letters()
    for _ in range(2):
        EmbeddingCache(letters, keep=False).encode_queries(["a"])  # type: ignore[arg-type]
    assert letters.asked == ["a", "a"]


@pytest.mark.parametrize("damage", [b"", b"PK", b"half"])
def test_a_damaged_file_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    path = record(folder, monkeypatch, ["a"])
    path.write_bytes(path.read_bytes()[:-50] if damage == b"half" else damage)
    with pytest.raises(RecordingError, match="restore it with git"):
        read_vectors(path)


@given(arrays(np.float32, (3, 4), elements=st.floats(-1, 1, width=32)))
def test_a_number_is_right_to_three_digits(rows: np.ndarray) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npz"
        names = [f"{place:032x}" for place in range(len(rows))]
        vectors, needed = dict(zip(names, rows, strict=True)), dict.fromkeys(names, 1)
        header = {"model": MODEL}
        recording.write_vectors(VectorRecording(path, header, vectors, needed))
        first = path.read_bytes()
        read = read_vectors(path).vectors
        assert list(read) == names
        assert np.allclose([read[name] for name in names], rows, rtol=2**-11, atol=2**-24)
        recording.write_vectors(VectorRecording(path, header, read, needed))
        assert path.read_bytes() == first


@pytest.mark.parametrize("path", sorted(recordings.RECORDINGS.glob("*.npz")), ids=lambda p: p.name)
def test_the_vectors_of_the_course_are_current_and_small(path: Path) -> None:
    stored = read_vectors(path)
    model = stored.header["model"]
    assert path == recorded_vectors.vectors_file(model)
    assert stored.header["sha256"] == REGISTRY[model].weights_sha256
    assert json.dumps(stored.header).count("/") == 0  # no folder of this machine
    bits = 0
    for each in stored.needed.values():
        assert each
        bits |= each
    stems = [path.name[:2] for path in recordings.NOTEBOOKS.glob("*.ipynb")]
    assert all(f"{number:02}" in stems for number in range(16) if bits >> number & 1)
    assert path.stat().st_size < 25e6
