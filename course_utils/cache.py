"""Results on disk: what was computed once is read the next time.

One SQLite file holds the results of one kind, which makes it safe to use from several kernels.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from course_utils.files import cache_dir
from course_utils.models import LanguageModel

ENGINE = 1  # part of every answer's key: raise it when the code decodes or scores differently


def remembered(
    kind: str, keys: Sequence[str], compute: Callable[[list[int]], Sequence[bytes]]
) -> list[bytes]:
    """Results by key, of which only those that are not on disk yet are computed.

    Args:
        kind: names the file.
        keys: n keys; each says all that decides its result.
        compute: given places in ``keys``, each key once, returns a result for each.

    Returns:
        n results.
    """
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    with closing(sqlite3.connect(cache_dir() / f"{kind}.sqlite", timeout=60)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS result (key BLOB PRIMARY KEY, value BLOB)")
        known: dict[bytes, bytes] = {}
        missing: dict[bytes, int] = {}
        for place, digest in enumerate(digests):
            row = db.execute("SELECT value FROM result WHERE key = ?", (digest,)).fetchone()
            if row:
                known[digest] = row[0]
            else:
                missing.setdefault(digest, place)
        if missing:
            fresh = dict(zip(missing, compute(list(missing.values())), strict=True))
            db.executemany("INSERT OR REPLACE INTO result VALUES (?, ?)", fresh.items())
            known |= fresh
    return [known[digest] for digest in digests]


def remembered_by(
    llm: LanguageModel,
    key: list[Any],
    items: Sequence[Any],
    compute: Callable[[LanguageModel, list[Any]], Sequence[Any]],
) -> list[Any]:
    """What a language model makes of some items, read where the same model has had them before.

    Args:
        llm: the model, as it is now.
        key: what is computed, and the settings that decide it.
        items: n prompts, each with what belongs to it.
        compute: given a model that does not remember, and some of the items, their results.
    """
    every = [ENGINE, llm.fingerprint(), *key]

    def missing(places: list[int]) -> list[bytes]:
        fresh = compute(replace(llm, remember=False), [items[place] for place in places])
        return [json.dumps(each).encode() for each in fresh]

    found = remembered("answers", [json.dumps([*every, item]) for item in items], missing)
    return [json.loads(each) for each in found]
