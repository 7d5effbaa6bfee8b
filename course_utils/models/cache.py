"""Results on disk: what was computed once is read the next time.

One SQLite file holds the results of one kind, which makes it safe to use from several kernels.
Results are saved batch by batch, so an interruption loses at most the batch being computed. A file
that cannot be used costs a warning and some time, never a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_utils.files import cache_dir
from course_utils.models import recordings

INSERT = "INSERT OR REPLACE INTO result VALUES (?, ?)"
Batches = Iterator[dict[int, Any]]  # place in the list that was asked for -> result


def cached(
    kind: str, keys: Sequence[str], compute: Callable[[list[int]], Sequence[bytes] | Batches]
) -> list[bytes]:
    """Results by key, of which only those that are not on disk yet are computed.

    Args:
        kind: names the file.
        keys: n keys; each contains everything that decides its result.
        compute: is given places in ``keys``, each key once. It returns a result for each place, or
            an iterator over batches, ``{index in the list of places: result}``; each batch is
            saved before the next is computed.

    Returns:
        n results.
    """
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    path = cache_dir() / f"{kind}.sqlite"
    known: dict[bytes, bytes] = {}

    def read(db: sqlite3.Connection) -> None:
        for digest in digests:
            known.update(db.execute("SELECT key, value FROM result WHERE key = ?", (digest,)))

    _use(path, read)
    missing: dict[bytes, int] = {}
    for place, digest in enumerate(digests):
        if digest not in known:
            missing.setdefault(digest, place)
    names = list(missing)
    # No connection is open while computing, so that no other kernel has to wait.
    for batch in _batches(compute(list(missing.values()))) if missing else ():
        rows = [(names[i], value) for i, value in batch.items()]
        known.update(rows)
        _use(path, lambda db, rows=rows: db.executemany(INSERT, rows))  # type: ignore[misc]
    return [known[digest] for digest in digests]


def cached_by_model(
    llm: Any,
    key: list[Any],
    items: Sequence[Any],
    compute: Callable[[Any, list[Any]], Sequence[Any] | Batches],
) -> list[Any]:
    """What a language model makes of some items, read where the same model has had them before.

    It is read from the notebook's recording, or else from the cache folder.

    Args:
        llm: a ``LanguageModel``, as it is now, or an ``Endpoint``.
        key: what is computed, and the settings that decide it.
        items: n prompts, each with what belongs to it.
        compute: is given a model that does not remember, and some of the items. It returns their
            results, or batches of them; see ``cached``.

    Returns:
        n results, as JSON gives them back: tuples become lists.
    """
    sha256 = llm.recorded_as()
    recording = recordings.current().of(llm.name, sha256, llm.version) if sha256 else None
    if recording is None:
        return _from_cache(llm, key, items, compute)

    def ask(some: list[Any]) -> Iterable[dict[int, Any]]:
        if recording.appends:  # recording asks everything again
            return _batches(compute(replace(llm, remember=False), some))
        return [dict(enumerate(_from_cache(llm, key, some, compute)))]

    return recording.answers(key, items, ask)


def _from_cache(llm: Any, key: list[Any], items: Sequence[Any], compute: Any) -> list:
    every = [llm.version, llm.fingerprint(), *key]

    def missing(places: list[int]) -> Batches:
        fresh = compute(replace(llm, remember=False), [items[place] for place in places])
        for batch in _batches(fresh):
            yield {i: json.dumps(value).encode() for i, value in batch.items()}

    found = cached("answers", [json.dumps([*every, item]) for item in items], missing)
    return [json.loads(each) for each in found]


def in_order(batches: Iterable[dict[int, Any]]) -> list[Any]:
    """All results of an iterator over batches, by place.

    Example:
        >>> in_order([{2: "c", 0: "a"}, {1: "b"}])
        ['a', 'b', 'c']
    """
    found: dict[int, Any] = {}
    for batch in batches:
        found |= batch
    return [found[place] for place in range(len(found))]


def _batches(results: Any) -> Batches:
    """What a ``compute`` returned, as batches."""
    return results if isinstance(results, Iterator) else iter([dict(enumerate(results))])


def _use(path: Path, action: Callable[[sqlite3.Connection], object]) -> None:
    """Open a file, do something in one transaction, and close it; of errors, warn."""
    try:
        with closing(sqlite3.connect(path, timeout=60)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS result (key BLOB PRIMARY KEY, value BLOB)")
            action(db)
    except sqlite3.DatabaseError as error:
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise  # the caller's mistake, such as a result of another type
        advice = "free some disk space, or set COURSE_CACHE to a folder that you can write to"
        if type(error) is sqlite3.DatabaseError:  # the file is damaged
            with contextlib.suppress(OSError):  # another kernel was faster
                path.replace(path.with_name(path.name + ".bad"))
            advice = f"it was renamed to {path.name}.bad, which you can delete"
        warnings.warn(
            f"{path} cannot be used ({error}), so results are computed again: {advice}.",
            stacklevel=3,
        )
