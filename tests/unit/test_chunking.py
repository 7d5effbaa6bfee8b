from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document

from course_utils.lab.splitters import markdown_sections, semantic, sentences_packed
from course_utils.search.chunking import (
    SpanSplitter,
    Splitter,
    fixed_windows,
    packed_blocks,
)

LINES = st.sampled_from(
    [
        "# Title",
        "",
        "one two three.",
        "One. Two, two? Three!",
        "## Part",
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


def hashed(texts: list[str]) -> np.ndarray:
    """A vector of length 1 for each text; nothing is alike."""
    angles = np.array([zlib.crc32(text.encode()) for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def semantic_hashed(tokenizer: Any, size: int) -> Splitter:
    return semantic(tokenizer, size, hashed, percentile=60)


@pytest.mark.parametrize(
    "make", [packed_blocks, sentences_packed, markdown_sections, semantic_hashed]
)
@given(page=PAGES, size=st.integers(1, 20))
@settings(deadline=None, max_examples=150)
def test_chunks_fit_cover_everything_and_do_not_overlap(
    make: Callable[[Any, int], Splitter], tokenizer: Any, page: str, size: int
) -> None:
    spans = make(tokenizer, size)(page)
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


@given(page=PAGES, size=st.integers(1, 20), overlap=st.integers(0, 4))
@settings(deadline=None, max_examples=150)
def test_overlap_repeats_whole_sentences_and_always_advances(
    tokenizer: Any, page: str, size: int, overlap: int
) -> None:
    alone = sentences_packed(tokenizer, size)(page)
    spans = sentences_packed(tokenizer, size, overlap)(page)
    assert all(count(tokenizer, page[start:end]) <= size for start, end in spans)
    words = {i for a, b in alone for i in range(a, b) if not page[i].isspace()}
    assert words <= {i for a, b in spans for i in range(a, b)}
    for (begin, end), (next_begin, next_end) in pairwise(spans):
        assert begin < next_begin and end < next_end


def test_the_last_sentence_is_repeated_where_it_fits(tokenizer: Any) -> None:
    text = "One is here. Two. Three is here too. Four."
    spans = sentences_packed(tokenizer, 7, overlap=1)(text)
    assert [text[a:b].strip() for a, b in spans] == [
        "One is here. Two.",
        "Two. Three is here too.",
        "Three is here too. Four.",
    ]
    with pytest.raises(ValueError, match="overlap"):
        sentences_packed(tokenizer, 7, overlap=-1)


def test_a_section_is_a_chunk_and_bare_headings_join_the_next(tokenizer: Any) -> None:
    text = "# Lamps\n\n## Limits\n\nAt most five.\n\nNo more.\n\n## Ports\n```\n# 7204\n```\n"
    spans = markdown_sections(tokenizer, 50)(text)
    assert [text[a:b].strip() for a, b in spans] == [
        "# Lamps\n\n## Limits\n\nAt most five.\n\nNo more.",
        "## Ports\n```\n# 7204\n```",
    ]


def test_semantic_cuts_where_the_subject_changes(tokenizer: Any) -> None:
    text = "Boats sail. Boats float. Ovens bake. Ovens heat."
    subjects = {"Boats": [1.0, 0.0], "Ovens": [0.0, 1.0]}

    def encode(texts: list[str]) -> np.ndarray:
        return np.array([subjects[text.split()[0]] for text in texts])

    spans = semantic(tokenizer, 50, encode)(text)
    assert [text[a:b].strip() for a, b in spans] == [
        "Boats sail. Boats float.",
        "Ovens bake. Ovens heat.",
    ]


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


def test_a_text_that_repeats_keeps_its_own_place() -> None:
    page = Document(id_="p", text="Do. No. Do. No. Do.")
    spans = [(0, 7), (8, 15), (8, 11), (12, 19)]
    nodes = SpanSplitter(lambda text: spans).get_nodes_from_documents([page])
    assert [(n.start_char_idx, n.end_char_idx) for n in nodes] == spans  # type: ignore[attr-defined]
