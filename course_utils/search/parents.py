"""Small to big: search small chunks, return the larger ones around them. Notebook 02."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.vector_stores import MetadataFilters

from course_utils.search.documents import nodes_by_page, span_of
from course_utils.search.retrieval import NodeRetriever


class ParentRetriever(NodeRetriever):
    """Searches small chunks and returns the larger ones that they are part of.

    In notebook 02 this gained only where the larger chunks are too long for the embedder.
    """

    def __init__(
        self,
        retriever: NodeRetriever,
        parents: Sequence[BaseNode],
        top_k: int = 5,
        filters: MetadataFilters | None = None,
    ) -> None:
        """Put parents behind a retriever.

        Args:
            retriever: finds the small chunks.
            parents: larger chunks of the same pages, or the pages themselves; a small chunk belongs
                to the parent that its middle is in, and stays itself if there is none.
            top_k: see ``search``, like ``filters``.
        """
        super().__init__(top_k, filters)
        self.retriever = retriever
        self._parents = nodes_by_page(parents)

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        # Several small chunks may have one parent, so that more of them are needed.
        for hits in self.retriever.search(questions, 10 * top_k, filters):
            best: dict[str, NodeWithScore] = {}
            for hit in hits:
                parent = self.parent(hit.node)
                best.setdefault(parent.node_id, NodeWithScore(node=parent, score=hit.score))
            yield list(best.values())[:top_k]

    def parent(self, node: BaseNode) -> BaseNode:
        """The larger chunk that a small one is part of."""
        part = span_of(node)
        middle = (part.start + part.end) // 2
        for parent in self._parents[part.page]:
            whole = span_of(parent)
            if whole.start <= middle < whole.end:
                return parent
        return node
