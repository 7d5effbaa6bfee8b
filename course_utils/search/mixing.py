"""Mix the scores of retriever and rerankers; the weights are learned. Notebook 04."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llama_index.core.schema import BaseNode, NodeWithScore
from pydantic import Field

from course_utils.files import InputError
from course_utils.models.embedding import Embedder
from course_utils.search.late_interaction import LateInteraction
from course_utils.search.reranking import Reranker

DEFAULT_WEIGHTS = (0.5, 0.8)  # learned in notebook 04, on its train questions


class LearnedMix(Reranker):
    """A weighted sum of what the retriever and other rerankers say.

    Each score is standardised over the question's candidates, so that scales do not matter.
    """

    parts: list[Reranker] = Field(default_factory=list)
    weights: list[float] = Field(default_factory=list)

    def __init__(
        self, parts: Sequence[Reranker], weights: Sequence[float], top_k: int | None = None
    ) -> None:
        """Set the mix.

        Args:
            parts: rerankers, each of which judges the nodes that the one before it chose.
            weights: one for the candidates' own scores and one for each part.
            top_k: see ``Reranker``.
        """
        if len(weights) != 1 + len(parts):
            raise InputError(f"{len(parts)} parts need {1 + len(parts)} weights: not {weights}.")
        super().__init__(top_k=top_k)
        self.parts = list(parts)
        self.weights = [float(weight) for weight in weights]

    def features(
        self, question: str, hits: Sequence[NodeWithScore]
    ) -> tuple[list[NodeWithScore], np.ndarray]:
        """The chosen nodes and their standardised scores, (candidates, 1 + parts)."""
        chosen, columns = list(hits), [[hit.get_score() for hit in hits]]
        for part in self.parts:
            chosen = part.judge(question, chosen)
            columns.append([hit.get_score() for hit in chosen])
        raw = np.array(columns).T
        return chosen, (raw - raw.mean(axis=0)) / np.maximum(raw.std(axis=0), 1e-9)

    def judge(self, question: str, hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        if not hits:
            return []
        chosen, table = self.features(question, hits)
        pairs = zip(chosen, table @ np.array(self.weights), strict=True)
        return [NodeWithScore(node=hit.node, score=float(score)) for hit, score in pairs]


def default_reranker(embedder: Embedder, chunks: Sequence[BaseNode] = ()) -> LearnedMix:
    """The course's reranker: the retriever's score and late interaction, weighed in notebook 04."""
    return LearnedMix([LateInteraction(embedder, chunks)], DEFAULT_WEIGHTS)
