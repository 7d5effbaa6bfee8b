"""Results on disk: what was computed once is read the next time.

One SQLite file holds the results of one kind, which makes it safe to use from several kernels.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

from course_utils.models import cache_dir


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
