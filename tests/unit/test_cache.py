"""Results on disk: saved as they come, and never in the way."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_utils.files import cache_dir
from course_utils.models.cache import cached, cached_by_model, in_order
from course_utils.models.generator import LanguageModel
from course_utils.search.vectors import EmbeddingCache

KEYS = ["a", "b", "a", "c"]
WANTED = [b"a", b"b", b"a", b"c"]


def path() -> Path:
    return cache_dir() / "letters.sqlite"


def letters(places: list[int]) -> list[bytes]:
    return [KEYS[place].encode() for place in places]


def refuse(places: list[int]) -> list[bytes]:
    raise AssertionError(f"{places} were computed again")


def in_batches(places: list[int], stop_before: int = 99) -> Iterator[dict[int, bytes]]:
    """The last first, one in each batch."""
    for i in reversed(range(len(places))):
        if i == stop_before:
            raise KeyboardInterrupt
        yield {i: KEYS[places[i]].encode()}


@pytest.mark.parametrize("compute", [letters, in_batches])
def test_each_key_is_computed_once(compute: Callable[[list[int]], Any]) -> None:
    asked: list[list[int]] = []

    def counted(places: list[int]) -> Any:
        asked.append(places)
        return compute(places)

    assert cached("letters", KEYS, counted) == WANTED
    assert asked == [[0, 1, 3]]
    assert cached("letters", KEYS, refuse) == WANTED


def test_an_interruption_keeps_the_batches_before_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        cached("letters", KEYS, lambda places: in_batches(places, stop_before=0))
    assert cached("letters", ["b", "c"], refuse) == [b"b", b"c"]
    asked: list[list[int]] = []
    cached("letters", KEYS, lambda places: asked.append(places[:]) or letters(places))  # type: ignore[func-returns-value]
    assert asked == [[0]]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_killed_process_keeps_the_batches_before() -> None:
    code = (
        "import os, signal\n"
        "from course_utils.models.cache import cached\n"
        "def compute(places):\n"
        "    yield {1: b'b'}\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cached('letters', ['a', 'b'], compute)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    assert cached("letters", ["b"], refuse) == [b"b"]


def test_another_kernel_can_write_while_one_computes() -> None:
    def compute(places: list[int]) -> Iterator[dict[int, bytes]]:
        for batch in in_batches(places):
            yield batch
            with closing(sqlite3.connect(path(), timeout=0)) as db:
                db.execute("BEGIN IMMEDIATE")

    assert cached("letters", KEYS, compute) == WANTED


def test_the_vectors_of_finished_batches_are_kept() -> None:
    class Stops:
        fingerprint = "stops"

        def encode_batches(self, texts: list[str], role: str) -> Iterator[dict[int, Any]]:
            yield {1: np.ones(2, dtype=np.float32)}
            raise KeyboardInterrupt

    cache: Any = EmbeddingCache(Stops())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        cache.encode(["one", "two"])
    assert cache.encode(["two"]).tolist() == [[1, 1]] and cache.misses == 0


def test_a_language_models_results_may_come_in_batches(llm: LanguageModel) -> None:
    def compute(fresh: LanguageModel, some: list[Any]) -> Iterator[dict[int, Any]]:
        assert not fresh.remember
        yield {1: [some[1], 1.5]}
        if len(some) > 2:
            raise KeyboardInterrupt
        yield {0: [some[0], 2.5]}

    assert cached_by_model(llm, ["x"], ["p", "q"], compute) == [["p", 2.5], ["q", 1.5]]
    with pytest.raises(KeyboardInterrupt):
        cached_by_model(llm, ["y"], ["p", "q", "r"], compute)
    assert cached_by_model(llm, ["y"], ["q"], lambda *_: refuse([])) == [["q", 1.5]]


def test_batches_in_order() -> None:
    assert in_order([{2: "c", 0: "a"}, {1: "b"}]) == ["a", "b", "c"]
    assert in_order([]) == []


# --- files that cannot be used --------------------------------------------------------------------


def garbage() -> None:
    path().write_bytes(b"no database " * 100)


def half() -> None:
    keys = [str(i) for i in range(2000)]
    cached("letters", [*KEYS, *keys], lambda places: [b"x" * 100 for _ in places])
    content = path().read_bytes()
    path().write_bytes(content[:4096] + b"\7" * (len(content) - 4096))  # all but the first page


@pytest.mark.parametrize("damage", [garbage, half])
def test_a_damaged_file_is_set_aside(damage: Callable[[], None]) -> None:
    damage()
    before = path().read_bytes()
    with pytest.warns(UserWarning, match=r"renamed to letters\.sqlite\.bad"):
        assert cached("letters", KEYS, letters) == WANTED
    assert path().with_name("letters.sqlite.bad").read_bytes() == before
    assert cached("letters", KEYS, refuse) == WANTED


def test_a_file_can_be_read_while_another_kernel_writes() -> None:
    cached("letters", KEYS, letters)
    with closing(sqlite3.connect(path(), isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert cached("letters", KEYS, refuse) == WANTED


def test_what_cannot_be_saved_is_returned_all_the_same() -> None:
    path().mkdir()  # no file can be opened there, as in a folder that one may not write to
    with pytest.warns(UserWarning, match="set COURSE_CACHE"):
        assert cached("letters", KEYS, in_batches) == WANTED


def test_a_result_of_the_wrong_type_is_no_damage() -> None:
    cached("letters", KEYS, letters)
    with pytest.raises(sqlite3.Error):
        cached("letters", ["new"], lambda _: [{}])  # type: ignore[list-item]
    assert cached("letters", KEYS, refuse) == WANTED
