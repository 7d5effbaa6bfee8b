"""An answer, and the page it points at. Notebook 01."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llama_index.core.schema import NodeWithScore

from course_utils.generate.prompting import source_text
from course_utils.search.documents import page_of


@dataclass(frozen=True)
class Answer:
    """What was answered, and the page it points at (None when it points at none).

    An empty text is a refusal. ``sureness`` is what the reader gives: the probability that the
    source states the answer (``CitingReader``), or the log-likelihood of a copied text.
    """

    text: str
    page: str | None = None
    sureness: float | None = None

    @property
    def refused(self) -> bool:
        return not self.text.strip()


def cite(texts: Sequence[str], hits: Sequence[Sequence[NodeWithScore]]) -> list[Answer]:
    """What a generator wrote, each text with its page.

    A generator that names a source ("[2]") is believed; one that does not is given the source
    that best supports its words (see ``supporting_page``).
    """
    return [
        Answer(text, cited_page(text, own) or supporting_page(text, own))
        for text, own in zip(texts, hits, strict=True)
    ]


NUMBERED = re.compile(r"\[(\d+)\]|\((\d+)\)(?=\.?$)")  # [2] anywhere, (2) at the end


def cited_page(text: str, hits: Sequence[NodeWithScore]) -> str | None:
    """The page of the first source that an answer names as ``[n]``; None if it names none."""
    for number in re.findall(r"\[(\d+)\]", text):
        if 1 <= int(number) <= len(hits):
            return page_of(hits[int(number) - 1].node)
    return None


def without_citations(text: str) -> str:
    """An answer without the numbers of its sources.

    Example:
        >>> without_citations("28 minutes [2].")
        '28 minutes'
    """
    return re.sub(rf"\s*({NUMBERED.pattern})\.?", "", text.strip()).strip(" ,")


def best_source(text: str, hits: Sequence[NodeWithScore]) -> NodeWithScore:
    """The source that an answer rests on: the one it names, unless another has more of its words.

    Models name the wrong number now and then, while their answer is copied from another source.

    Args:
        text: an answer, with or without the number of a source.
        hits: its sources, at least one.
    """
    words = _words(without_citations(text))
    shared = [len(words & _words(source_text(hit))) for hit in hits]
    best = shared.index(max(shared))
    for brackets, parentheses in NUMBERED.findall(text.strip())[:1]:
        named = int(brackets or parentheses) - 1
        if 0 <= named < len(hits) and shared[named] == max(shared):
            best = named
    return hits[best]


def supporting_page(text: str, hits: Sequence[NodeWithScore]) -> str | None:
    """The page of the source that shares most of an answer's words; the better ranked on a tie.

    None when no source shares a word.
    """
    words = _words(text)
    shared = [len(words & _words(hit.node.get_content())) for hit in hits]
    if not shared or max(shared) == 0:
        return None
    return page_of(hits[shared.index(max(shared))].node)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
