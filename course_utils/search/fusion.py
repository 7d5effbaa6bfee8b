"""Fuse several rankings into one by reciprocal rank. Notebook 03."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.vector_stores import MetadataFilters

from course_utils.files import InputError
from course_utils.search.documents import page_of
from course_utils.search.retrieval import NodeRetriever, require_positive


class FusedRetriever(NodeRetriever):
    """The rankings of several retrievers in one, by reciprocal rank fusion."""

    def __init__(
        self,
        retrievers: Sequence[NodeRetriever],
        top_k: int = 5,
        filters: MetadataFilters | None = None,
        *,
        weights: Sequence[float] | None = None,
        k: int = 60,
        by_page: bool = False,
        depth: int = 100,
    ) -> None:
        """Fuse retrievers.

        Args:
            retrievers: those to fuse.
            top_k: see ``search``.
            filters: see ``search``.
            weights: see ``reciprocal_rank_fusion``, like ``k`` and ``by_page``.
            depth: candidates taken from each retriever (``top_k``, where that is more).
        """
        super().__init__(top_k, filters)
        require_positive("depth", depth)
        self.retrievers = list(retrievers)
        self.weights = checked_weights(weights, len(self.retrievers))
        self.k = k
        self.by_page = by_page
        self.depth = depth

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        depth = max(self.depth, top_k)
        rankings = [one.search(questions, depth, filters) for one in self.retrievers]
        for each in zip(*rankings, strict=True):
            yield reciprocal_rank_fusion(each, self.weights, self.k, self.by_page)[:top_k]


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[NodeWithScore]],
    weights: Sequence[float] | None = None,
    k: int = 60,
    by_page: bool = False,
) -> list[NodeWithScore]:
    """Fuse by rank alone (Cormack et al., 2009): a node scores the sum of weight / (k + rank).

    Args:
        rankings: nodes, the best first; their scores are not looked at.
        weights: one for each ranking, all 1 when None; a ranking of weight 0 is left out.
        k: the larger, the less the first ranks stand out; ranks start at 1.
        by_page: rank pages, each as its first node, so that rankings of chunks and of whole
            pages can be fused; a page's node is that of the first ranking it is in.

    Returns:
        Every node (page) of the rankings, the best first; of equals the smaller id.
    """
    scores: dict[str, float] = {}
    nodes: dict[str, BaseNode] = {}
    for ranking, weight in zip(rankings, checked_weights(weights, len(rankings)), strict=True):
        first: dict[str, BaseNode] = {}
        for hit in ranking if weight else []:
            first.setdefault(page_of(hit.node) if by_page else hit.node_id, hit.node)
        for rank, name in enumerate(first, start=1):
            scores[name] = scores.get(name, 0.0) + weight / (k + rank)
        nodes = first | nodes
    order = sorted(scores, key=lambda name: (-scores[name], name))
    return [NodeWithScore(node=nodes[name], score=scores[name]) for name in order]


def checked_weights(weights: Sequence[float] | None, n: int) -> list[float]:
    chosen = [1.0] * n if weights is None else list(weights)
    if len(chosen) != n or min(chosen, default=0) < 0 or not any(chosen):
        raise InputError(f"{n} rankings need {n} weights, none negative, not all 0: not {chosen}.")
    return chosen
