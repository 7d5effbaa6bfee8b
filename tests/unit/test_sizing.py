from __future__ import annotations

import pytest

from course_utils.lab import explorers
from course_utils.scale.sizing import (
    SizeError,
    UnitCosts,
    collection_sizes,
    passed_limits,
    size_limits,
    sizes_markdown,
)

COSTS = UnitCosts(
    chunks_per_page=5,
    dimension=384,
    payload_bytes=1000,
    embed_seconds=0.02,
    compare_seconds=1e-7,
    question_seconds=0.01,
)


def test_a_size_by_hand() -> None:
    made = collection_sizes(1_000_000, COSTS, workers=4, shard_gb=8)
    assert made.chunks == 5_000_000
    assert made.vector_bytes == 5_000_000 * 384 * 4
    assert made.disk_bytes == 5_000_000 * (1000 + 384 * 4)
    assert made.shards == 2  # 11.5 GB with links, 8 GB a machine
    assert made.embed_hours == pytest.approx(5_000_000 * 0.02 / 3600 / 4)
    assert made.embed_usd == pytest.approx(5_000_000 * 0.02 / 3600 * 0.05)
    assert made.month_usd == pytest.approx(11.52 * 4)
    assert made.search_ms == pytest.approx(250)


def test_int8_takes_a_quarter_of_the_memory() -> None:
    assert (
        collection_sizes(10**6, COSTS, bytes_each=1).vector_bytes * 4
        == collection_sizes(10**6, COSTS).vector_bytes
    )


def test_at_its_limit_each_thing_is_just_full() -> None:
    found = list(size_limits(COSTS, workers=2, shard_gb=16).values())
    assert found == sorted(found)
    pages = {words.split()[0]: value for words, value in size_limits(COSTS).items()}
    assert pages["the"] == 4000
    assert collection_sizes(pages["embedding"], COSTS).embed_hours == pytest.approx(8)
    assert collection_sizes(pages["exact"], COSTS).search_ms == pytest.approx(10)
    assert collection_sizes(pages["one"] * 0.999, COSTS).shards == 1
    assert collection_sizes(pages["one"] * 1.001, COSTS).shards == 2


@pytest.mark.parametrize("bad", [{"pages": 0}, {"pages": 5, "workers": 0}, {"pages": -1}])
def test_nothing_takes_nothing(bad: dict[str, float]) -> None:
    with pytest.raises(SizeError, match="above 0"):
        collection_sizes(**{"costs": COSTS, **bad})  # type: ignore[arg-type]


def test_what_breaks_is_told_in_words() -> None:
    at = size_limits(COSTS)
    assert passed_limits(collection_sizes(500, COSTS), at) == []
    assert len(passed_limits(collection_sizes(50_000_000, COSTS), at)) == 4
    told = sizes_markdown(collection_sizes(5000, COSTS), at)
    assert told.count("(past)") == 1 and "- 4,000 pages: the embedded database" in told
    assert "| vectors | 38.4 MB |" in told


def test_the_calculator_shows_it() -> None:
    view = explorers.size_calculator(COSTS)
    pages, *_, each, said = view.children
    pages.value = 10**6
    before = said.value
    each.value = 1
    assert "7.68 GB" in before and "1.92 GB" in said.value
    assert repr(view) == "size calculator (run the cell to use it)"
