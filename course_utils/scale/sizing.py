"""From pages to vectors, bytes, shards, seconds and money, and what breaks first on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from course_utils.files import InputError

EMBEDDED_POINTS = 20_000  # above it qdrant-client itself warns against its embedded mode
MEMORY_FACTOR = 1.5  # memory over the vectors' bytes: links and the payload's indexes


class SizeError(InputError):
    """An amount that cannot be; the message says which."""


@dataclass(frozen=True)
class UnitCosts:
    """What one item costs, as measured here, and what machines cost.

    ``payload_bytes`` are a chunk's text and metadata on disk; the seconds are one core's, to embed
    a chunk and to compare a question with one vector. Prices are in USD.
    """

    chunks_per_page: float
    dimension: int
    payload_bytes: float
    embed_seconds: float
    compare_seconds: float
    question_seconds: float
    core_hour: float = 0.05
    gigabyte_month: float = 4.0


@dataclass(frozen=True)
class Sizes:
    """What a collection takes: bytes, machines, hours of one worker each, USD."""

    pages: float
    chunks: float
    vector_bytes: float
    disk_bytes: float
    shards: int
    embed_hours: float
    embed_usd: float
    month_usd: float
    search_ms: float


def collection_sizes(
    pages: float, costs: UnitCosts, workers: int = 2, shard_gb: float = 16, bytes_each: int = 4
) -> Sizes:
    """What some number of pages takes.

    Args:
        pages: how many.
        costs: of one item.
        workers: cores that embed side by side.
        shard_gb: memory of a machine that holds a shard.
        bytes_each: bytes of each of a vector's numbers in memory: 4, or 1 when quantised to int8.

    Raises:
        SizeError: an amount that is not above 0.
    """
    if not min(pages, workers, shard_gb, bytes_each) > 0:
        raise SizeError("Pages, workers, memory and bytes must all be above 0.")
    chunks = pages * costs.chunks_per_page
    vectors = chunks * costs.dimension * bytes_each
    memory = vectors * MEMORY_FACTOR
    shards = max(1, math.ceil(memory / (shard_gb * 1e9)))
    core_hours = chunks * costs.embed_seconds / 3600
    return Sizes(
        pages=pages,
        chunks=chunks,
        vector_bytes=vectors,
        disk_bytes=chunks * (costs.payload_bytes + 4 * costs.dimension),
        shards=shards,
        embed_hours=core_hours / workers,
        embed_usd=core_hours * costs.core_hour,
        month_usd=memory / 1e9 * costs.gigabyte_month,
        search_ms=1000 * chunks / shards * costs.compare_seconds,
    )


def size_limits(
    costs: UnitCosts,
    workers: int = 2,
    shard_gb: float = 16,
    night_hours: float = 8,
    bytes_each: int = 4,
) -> dict[str, float]:
    """What breaks, and from how many pages on, the first first."""
    one = collection_sizes(1, costs, workers, shard_gb, bytes_each)
    found = {
        "the embedded database: start a server": EMBEDDED_POINTS / costs.chunks_per_page,
        "exact search, which takes longer than embedding the question: use HNSW": (
            costs.question_seconds / costs.compare_seconds / costs.chunks_per_page
        ),
        "embedding in a night: more workers": night_hours / one.embed_hours,
        "one machine's memory: shards, or fewer bytes": (
            shard_gb * 1e9 / (one.vector_bytes * MEMORY_FACTOR)
        ),
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def passed_limits(made: Sizes, at: dict[str, float]) -> list[str]:
    """Those of ``limits`` that a size is past, the first first."""
    return [words for words, pages in at.items() if made.pages > pages]


def size_row(made: Sizes) -> list[str]:
    """A size as the cells of a table; ``HEADS`` names them."""
    return [
        f"{made.pages:,.0f}",
        f"{made.chunks:,.0f}",
        _bytes(made.vector_bytes),
        _bytes(made.disk_bytes),
        f"{made.shards:,}",
        f"{made.embed_hours:,.2g}" if made.embed_hours < 100 else f"{made.embed_hours:,.0f}",
        f"{made.embed_usd:,.2f}",
        f"{made.month_usd:,.2f}",
        f"{made.search_ms:,.2g}" if made.search_ms < 100 else f"{made.search_ms:,.0f}",
    ]


SIZE_HEADS = (
    *("pages", "chunks", "vectors", "on disk", "shards", "hours to embed", "USD to embed"),
    *("USD a month", "ms of exact search"),
)


def sizes_markdown(made: Sizes, at: dict[str, float]) -> str:
    """A size in Markdown, with what breaks and when."""
    table = "\n".join(
        f"| {head} | {cell} |" for head, cell in zip(SIZE_HEADS, size_row(made), strict=True)
    )
    past = passed_limits(made, at)
    said = [
        f"- {pages:,.0f} pages: {words}{' **(past)**' if words in past else ''}"
        for words, pages in at.items()
    ]
    return f"| | |\n|---|---|\n{table}\n\nWhat breaks, and from where on:\n\n" + "\n".join(said)


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            break
        n /= 1000
    return f"{n:,.3g} {unit}"
