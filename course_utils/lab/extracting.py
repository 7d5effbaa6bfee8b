"""An extractive reader, to compare generators with. Notebook 01."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from llama_index.core.schema import NodeWithScore

from course_utils.generate.citing import Answer
from course_utils.models.embedding import Embedder, encode_queries
from course_utils.search.documents import page_of


def extract_with(
    embedder: Embedder, questions: Sequence[str], hits: Sequence[Sequence[NodeWithScore]]
) -> list[Answer]:
    """Answer each question with the retrieved sentence or table row most similar to it.

    An extractive reader: it cannot phrase, but it cannot invent either, and it always knows its
    source.
    """
    answers = []
    for question, own in zip(questions, hits, strict=True):
        sentences, pages = [], []
        for hit in own:
            for sentence in split_sentences(hit.node.get_content()):
                sentences.append(sentence)
                pages.append(page_of(hit.node))
        if not sentences:
            answers.append(Answer(""))
            continue
        (asked,) = encode_queries(embedder, [question])  # (dimension,)
        best = int(np.argmax(embedder.encode(sentences) @ asked))
        answers.append(Answer(sentences[best], pages[best]))
    return answers


def split_sentences(text: str) -> list[str]:
    """The sentences of Markdown prose, and its table rows, list items and code lines one by one."""
    parts = (
        part.strip() for line in text.splitlines() for part in re.split(r"(?<=[.!?])\s+", line)
    )
    return [part for part in parts if re.search(r"\w", part)]
