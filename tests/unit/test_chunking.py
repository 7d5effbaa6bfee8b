from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document

from course_utils.chunking import SpanSplitter, fixed_windows, packed_blocks

LINES = st.sampled_from(
    [
        "# Title",
        "",
        "one two three.",
        "- item, with `code`",
        "```",
        "    x = 1",
        "| a | b |",
        "é 漢字",
    ]
)
PAGES = st.lists(LINES, max_size=30).map("\n".join)


def count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


@given(page=PAGES, size=st.integers(1, 20))
@settings(deadline=None, max_examples=150)
def test_blocks_fit_cover_everything_and_do_not_overlap(
    tokenizer: Any, page: str, size: int
) -> None:
    spans = packed_blocks(tokenizer, size)(page)
    covered: set[int] = set()
    for start, end in spans:
        assert count(tokenizer, page[start:end]) <= size
        assert not covered & set(range(start, end))
        covered |= set(range(start, end))
    assert all(i in covered for i, character in enumerate(page) if not character.isspace())
    assert spans == sorted(spans)


@given(page=PAGES, size=st.integers(2, 20), data=st.data())
@settings(deadline=None, max_examples=150)
def test_windows_have_the_asked_size_and_overlap(
    tokenizer: Any, page: str, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    offsets = tokenizer(page, add_special_tokens=False, return_offsets_mapping=True)
    starts = [start for start, _ in offsets["offset_mapping"]]
    spans = fixed_windows(tokenizer, size, overlap)(page)
    sizes = [sum(a <= start < b for start in starts) for a, b in spans]
    assert all(n == size for n in sizes[:-1]) and all(0 < n <= size for n in sizes)
    for (_, end), (begin, _) in pairwise(spans):
        assert sum(begin <= start < end for start in starts) == overlap
    covered = {start for start in starts for a, b in spans if a <= start < b}
    assert covered == set(starts)


@pytest.mark.parametrize("overlap", [-1, 4, 9])
def test_an_impossible_overlap_is_refused(tokenizer: Any, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        fixed_windows(tokenizer, 4, overlap)


def test_nodes_know_their_place_and_their_page(tokenizer: Any) -> None:
    text = "# Ports\n\nlampd listens on 7204.\n\nwhois listens on 7607."
    page = Document(id_="ports", text=text, metadata={"title": "Ports"})
    nodes = SpanSplitter(packed_blocks(tokenizer, 6)).get_nodes_from_documents([page])
    assert [node.get_content().strip() for node in nodes] == [
        "# Ports",
        "lampd listens on 7204.",
        "whois listens on 7607.",
    ]
    for node in nodes:
        start, end = node.start_char_idx, node.end_char_idx  # type: ignore[attr-defined]
        assert text[start:end] == node.get_content()
        assert node.ref_doc_id == "ports"
        assert node.metadata["title"] == "Ports"


def test_a_heading_stays_with_what_follows(tokenizer: Any) -> None:
    text = "First words here.\n\n## Limits\n\nAt most five."
    spans = packed_blocks(tokenizer, 8)(text)
    assert [text[a:b].strip() for a, b in spans] == [
        "First words here.",
        "## Limits\n\nAt most five.",
    ]


def test_a_blank_page_gives_no_nodes(tokenizer: Any) -> None:
    splitter = SpanSplitter(packed_blocks(tokenizer, 8))
    assert splitter.get_nodes_from_documents([Document(text=" \n\n ")]) == []
