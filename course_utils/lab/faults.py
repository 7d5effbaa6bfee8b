"""A dense search with faults to switch on, and the numbers that show them. Notebook 08."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llama_index.core import Document
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores import MetadataFilters

from course_utils.evaluate.correctness import contains_answer
from course_utils.evaluate.intervals import Estimate, estimate
from course_utils.evaluate.metrics import page_run, retrieval_scores
from course_utils.lab.baselines import LsaEmbedder
from course_utils.models.embedding import Embedder
from course_utils.search.chunking import chunk_documents
from course_utils.search.documents import Question
from course_utils.search.retrieval import NodeRetriever
from course_utils.search.vectors import EmbeddingCache, embed_nodes

SMALL, LARGE = 96, 512  # tokens in a chunk; the embedder reads 256 of them
THRESHOLD = 0.5
FAULT_CANDIDATES = 50


@dataclass(frozen=True)
class Faults:
    """What is broken; nothing, by default.

    ``large_chunks``: 512 tokens, of which the embedder reads half; one fills the prompt that
    holds three small ones. ``other_embedder``: questions are embedded with another model than the
    pages, whose vectors have the same length. ``high_threshold``: what has a cosine below 0.5 is
    left out. ``reversed_scores``: distances are sorted as if they were similarities, so that of
    50 candidates the worst come first.
    """

    large_chunks: bool = False
    other_embedder: bool = False
    high_threshold: bool = False
    reversed_scores: bool = False

    @property
    def shown(self) -> int:
        """How many chunks go into the prompt."""
        return 1 if self.large_chunks else 3


class FaultySearch(NodeRetriever):
    """Nearest chunks by cosine, with whatever faults are switched on."""

    def __init__(self, faults: Faults, nodes: Sequence[Any], pages: Embedder, asked: Any) -> None:
        """Index.

        Args:
            faults: what is broken.
            nodes: n chunks.
            pages: embeds them.
            asked: embeds the questions: the same, or another one.
        """
        super().__init__(top_k=faults.shown)
        self.faults, self.nodes, self.asked = faults, list(nodes), asked
        self.vectors = embed_nodes(self.nodes, pages)

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        for cosines in EmbeddingCache(self.asked).encode_queries(questions) @ self.vectors.T:
            best = np.argsort(-cosines, kind="stable")[: max(top_k, FAULT_CANDIDATES)]
            if self.faults.high_threshold:
                best = best[cosines[best] >= THRESHOLD]
            if self.faults.reversed_scores:
                best = best[::-1]
            # Their place is their score, so that whoever sorts by score keeps the order.
            yield [
                NodeWithScore(node=self.nodes[place], score=1 / rank)
                for rank, place in enumerate(best[:top_k], start=1)
            ]


def search_factory(
    pages: Sequence[Document], embedder: Embedder
) -> Callable[[Faults], FaultySearch]:
    """What makes a search with some faults; chunks and vectors are made once.

    Args:
        pages: more than 384 of them, from which the other embedder learns.
        embedder: the right one.
    """

    @cache
    def chunks(size: int) -> list[Any]:
        return chunk_documents(list(pages), embedder.tokenizer, size)

    @cache
    def other() -> LsaEmbedder:
        dimension = embedder.encode(["?"]).shape[1]
        return LsaEmbedder([page.text for page in pages], dimension)

    @cache
    def made(faults: Faults) -> FaultySearch:
        nodes = chunks(LARGE if faults.large_chunks else SMALL)
        return FaultySearch(faults, nodes, embedder, other() if faults.other_embedder else embedder)

    return made


def measure_symptoms(search: NodeRetriever, questions: Sequence[Question]) -> dict[str, Estimate]:
    """What a look at the search alone tells.

    Args:
        search: what to look at.
        questions: answerable ones.

    Returns:
        The share of questions with the answer in the sources that the reader gets, with no source
        at all, recall@10 and nDCG@10 of pages.
    """
    found = search.search([question.text for question in questions], FAULT_CANDIDATES)
    shown = [hits[: search.top_k] for hits in found]
    held = [contains_answer(hits, q) for hits, q in zip(shown, questions, strict=True)]
    runs = {q.id: page_run(hits) for q, hits in zip(questions, found, strict=True)}
    scores = retrieval_scores(runs, questions, ["recall_10", "ndcg_cut_10"])
    return {
        "answer in the sources": estimate(held),
        "no source at all": estimate([not hits for hits in shown]),
        "recall@10 of pages": estimate(scores["recall_10"]),
        "nDCG@10 of pages": estimate(scores["ndcg_cut_10"]),
    }


BROKEN_SEARCHES = {
    "healthy": Faults(),
    "large chunks": Faults(large_chunks=True),
    "other embedder": Faults(other_embedder=True),
    "high threshold": Faults(high_threshold=True),
    "reversed scores": Faults(reversed_scores=True),
}
