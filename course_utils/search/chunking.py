"""Cutting pages into chunks (LlamaIndex nodes) that know where on the page they stand.

A splitter is a plain function from a text to spans; ``SpanSplitter`` makes LlamaIndex nodes of
them. Sizes are in the embedder's own tokens, because that is what the embedder cuts off at.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from llama_index.core import Document
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, NodeRelationship, TextNode
from pydantic import PrivateAttr

from course_utils.files import InputError

Spans = list[tuple[int, int]]
Splitter = Callable[[str], Spans]
Fits = Callable[[int, int], bool]
HEADING = re.compile(r"#{1,6} ")


def fixed_windows(tokenizer: Any, size: int, overlap: int = 0) -> Splitter:
    """Windows of ``size`` tokens, each starting ``size - overlap`` tokens after the last.

    Args:
        tokenizer: the embedder's, a fast one (it must report offsets).
        size: tokens in a window.
        overlap: tokens shared by neighbours, less than ``size``.
    """
    if not 0 <= overlap < size:
        raise InputError(
            f"The overlap ({overlap}) must be at least 0 and less than the size ({size})."
        )

    def split(text: str) -> Spans:
        offsets = _offsets(tokenizer, text)
        starts = range(0, max(len(offsets) - overlap, 1), size - overlap)
        windows = [offsets[start : start + size] for start in starts]
        return [(window[0][0], window[-1][1]) for window in windows if window]

    return split


def packed_blocks(tokenizer: Any, size: int) -> Splitter:
    """Whole Markdown blocks packed up to ``size`` tokens; a block larger than that is cut by lines.

    A block ends at a blank line or before a heading; a heading stays with what follows it, and a
    line longer than ``size`` tokens is cut into windows.
    """
    windows = fixed_windows(tokenizer, size)

    def split(text: str) -> Spans:
        fits = fitting(tokenizer, text, size)
        parts: Spans = []
        for block in blocks_of(text):
            parts += [block] if fits(*block) else lines_of(text, *block)
        return pack(windowed(text, parts, fits, windows), fits)

    return split


def sentence_spans(text: str) -> Spans:
    """Spans of sentences, none across a line's end; blank lines are left out."""
    spans: Spans = []
    for begin, end in lines_of(text, 0, len(text)):
        line = text[begin:end]
        ends = [match.end() for match in re.finditer(r"(?<=[.!?])\s+(?=\S)", line)]
        spans += [(begin + a, begin + b) for a, b in pairwise([0, *ends, len(line)])]
    return [(begin, end) for begin, end in spans if text[begin:end].strip()]


def chunk_documents(
    documents: Sequence[Document], tokenizer: Any, size: int = 96
) -> list[BaseNode]:
    """Cut documents into chunks of whole Markdown blocks.

    Args:
        documents: what to cut.
        tokenizer: the embedder's, a fast one.
        size: the most tokens in a chunk.

    Returns:
        The chunks of all documents, in their order; see ``SpanSplitter``.
    """
    return SpanSplitter(packed_blocks(tokenizer, size)).get_nodes_from_documents(list(documents))


class SpanSplitter(NodeParser):
    """A LlamaIndex node parser around a splitter function.

    Each node's ``start_char_idx`` and ``end_char_idx`` are its place in the document's text, its
    id is the document's with that place behind it, and its metadata are the document's.
    """

    _split: Splitter = PrivateAttr()

    def __init__(self, split: Splitter) -> None:
        super().__init__()
        self._split = split

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **_: Any
    ) -> list[BaseNode]:
        return [chunk for node in nodes for chunk in self._chunks(node)]

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]
    ) -> list[BaseNode]:
        # LlamaIndex searches each text on its page, and finds the wrong place of one that repeats.
        places = [(node.start_char_idx, node.end_char_idx) for node in nodes]  # type: ignore[attr-defined]
        nodes = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        for node, (start, end) in zip(nodes, places, strict=True):
            node.start_char_idx, node.end_char_idx = start, end  # type: ignore[attr-defined]
        return nodes

    def _chunks(self, document: BaseNode) -> list[BaseNode]:
        text = document.get_content()
        return [
            TextNode(
                id_=f"{document.node_id}:{start}-{end}",
                text=text[start:end],
                start_char_idx=start,
                end_char_idx=end,
                metadata=document.metadata,
                excluded_embed_metadata_keys=document.excluded_embed_metadata_keys,
                excluded_llm_metadata_keys=document.excluded_llm_metadata_keys,
                relationships={NodeRelationship.SOURCE: document.as_related_node_info()},
            )
            for start, end in self._split(text)
            if text[start:end].strip()
        ]


def _offsets(tokenizer: Any, text: str) -> Spans:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return encoded["offset_mapping"]


def fitting(tokenizer: Any, text: str, size: int) -> Fits:
    starts = [start for start, _ in _offsets(tokenizer, text)]
    return lambda begin, end: bisect_left(starts, end) - bisect_left(starts, begin) <= size


def windowed(text: str, spans: Spans, fits: Fits, windows: Splitter) -> Spans:
    """The spans, with those that do not fit cut into windows."""
    pieces: Spans = []
    for begin, end in spans:
        if fits(begin, end):
            pieces.append((begin, end))
        else:
            pieces += [(begin + a, begin + b) for a, b in windows(text[begin:end])]
    return pieces


def pack(pieces: Spans, fits: Fits, overlap: int = 0) -> Spans:
    """Neighbouring pieces joined while they fit; a chunk repeats ``overlap`` pieces if it can."""
    packed: Spans = []
    first = 0
    for last, (_, end) in enumerate(pieces):
        if not fits(pieces[first][0], end):
            packed.append((pieces[first][0], pieces[last - 1][1]))
            first = max(first, last - overlap)
            while not fits(pieces[first][0], end):
                first += 1
    return [*packed, (pieces[first][0], pieces[-1][1])] if pieces else []


def blocks_of(text: str) -> Spans:
    """Spans between blank lines; code fences stay whole and a heading is joined to what follows."""
    spans: Spans = []
    begin: int | None = None
    fenced = heading = False
    position = 0
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        blank = not line.strip() and not fenced
        new_heading = bool(HEADING.match(line)) and not fenced
        if begin is not None and (new_heading or (blank and not heading)):
            spans.append((begin, position))
            begin = None
        if not blank:
            begin = position if begin is None else begin
            heading = new_heading
        position += len(line)
    return [*spans, (begin, position)] if begin is not None else spans


def lines_of(text: str, begin: int, end: int) -> Spans:
    spans: Spans = []
    for line in text[begin:end].splitlines(keepends=True):
        spans.append((begin, begin + len(line)))
        begin += len(line)
    return spans
