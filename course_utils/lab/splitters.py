"""Splitters that notebook 02 compares with the course's own, ``packed_blocks``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from course_utils.files import InputError
from course_utils.search.chunking import (
    HEADING,
    Spans,
    Splitter,
    blocks_of,
    fitting,
    fixed_windows,
    pack,
    packed_blocks,
    sentence_spans,
    windowed,
)


def sentences_packed(tokenizer: Any, size: int, overlap: int = 0) -> Splitter:
    """Whole sentences packed up to ``size`` tokens.

    A line ends a sentence, so list items, table rows and lines of code are sentences too; one
    larger than ``size`` is cut into windows.

    Args:
        tokenizer: the embedder's, a fast one.
        size: the most tokens in a chunk.
        overlap: sentences that a chunk repeats from the end of the one before, as far as they fit.
    """
    if overlap < 0:
        raise InputError(f"The overlap ({overlap}) must be at least 0 sentences.")
    windows = fixed_windows(tokenizer, size)

    def split(text: str) -> Spans:
        fits = fitting(tokenizer, text, size)
        pieces = windowed(text, sentence_spans(text), fits, windows)
        return pack(pieces, fits, overlap)

    return split


def markdown_sections(tokenizer: Any, size: int) -> Splitter:
    """One chunk a section, from its heading to the next; a larger one is cut by `packed_blocks`.

    Headings without text of their own go with the section below them.
    """
    blocks = packed_blocks(tokenizer, size)

    def split(text: str) -> Spans:
        sections: Spans = []
        bare = False
        for begin, end in blocks_of(text):
            heading = bool(HEADING.match(text, begin))
            if sections and (bare or not heading):
                sections[-1] = (sections[-1][0], end)
            else:
                sections.append((begin, end))
            bare = heading and "\n" not in text[begin:end].strip()
        return windowed(text, sections, lambda begin, end: False, blocks)

    return split


def semantic(
    tokenizer: Any,
    size: int,
    encode: Callable[[list[str]], np.ndarray],
    percentile: float = 90,
) -> Splitter:
    """Cut where a text changes its subject: between sentences whose embeddings differ most.

    Args:
        tokenizer: the embedder's, a fast one.
        size: the most tokens in a chunk; what is larger is packed like `sentences_packed`.
        encode: sentences to rows of length 1, (n, dimension); usually ``EmbeddingCache.encode``.
        percentile: of a page's distances between neighbours, 0 to 100; larger ones are cuts.
    """
    windows = fixed_windows(tokenizer, size)

    def split(text: str) -> Spans:
        fits = fitting(tokenizer, text, size)
        pieces = windowed(text, sentence_spans(text), fits, windows)
        if len(pieces) < 2:
            return pieces
        vectors = encode([text[begin:end].strip() for begin, end in pieces])
        distances = 1 - (vectors[1:] * vectors[:-1]).sum(axis=1)
        cuts = np.flatnonzero(distances > np.percentile(distances, percentile)) + 1
        bounds = pairwise([0, *cuts, len(pieces)])
        return [span for begin, end in bounds for span in pack(pieces[begin:end], fits)]

    return split
