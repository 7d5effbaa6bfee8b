"""A second look at candidates: rerankers as LlamaIndex node postprocessors. Notebook 04.

A retriever compares a question with vectors or words made beforehand; a reranker reads question and
candidate together, which is slower, so it reads only what the retriever found.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores import MetadataFilters
from pydantic import PrivateAttr

from course_utils.files import InputError
from course_utils.models.fetching import locate
from course_utils.models.registry import ModelError
from course_utils.models.weights import explained_loading, read_json
from course_utils.search.documents import nodes_by_page, page_of
from course_utils.search.retrieval import NodeRetriever, require_positive


class Reranker(BaseNodePostprocessor):
    """What all rerankers share: many questions at once, and pages judged by their best chunk."""

    top_k: int | None = None
    _chunks: dict[str, list[BaseNode]] = PrivateAttr()

    def __init__(self, chunks: Iterable[BaseNode] = (), top_k: int | None = None) -> None:
        """Set what a candidate stands for.

        Args:
            chunks: of all pages. A candidate is judged, and returned, as the best chunk of its
                page; one whose page has no chunks here, as itself.
            top_k: nodes kept; all when None.
        """
        require_positive("top_k", top_k)
        super().__init__(top_k=top_k)  # type: ignore[call-arg]
        self._chunks = nodes_by_page(chunks)

    @classmethod
    def class_name(cls) -> str:
        return cls.__name__

    def rerank(
        self,
        questions: Sequence[str],
        rankings: Sequence[Sequence[NodeWithScore]],
        top_k: int | None = None,
    ) -> list[list[NodeWithScore]]:
        """Put each question's candidates into a new order.

        Args:
            questions: n questions.
            rankings: n lists of candidates, the best first.
            top_k: nodes kept; default the reranker's.

        Returns:
            n lists, the best first, with the reranker's scores; of equals the one that was first.

        Raises:
            InputError: ``top_k`` is below 1.
        """
        require_positive("top_k", top_k)
        judged = [self.judge(*pair) for pair in zip(questions, rankings, strict=True)]
        keep = top_k or self.top_k
        return [sorted(hits, key=lambda hit: -hit.get_score())[:keep] for hits in judged]

    def judge(self, question: str, hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        """The candidates in their old order, each as its best chunk and with its new score."""
        groups = [self._chunks.get(page_of(hit.node)) or [hit.node] for hit in hits]
        nodes = [node for group in groups for node in group]
        scores = iter(self._score(question, nodes) if nodes else ())
        best = []
        for group in groups:
            pairs = [(float(next(scores)), node) for node in group]
            score, node = max(pairs, key=lambda pair: pair[0])
            best.append(NodeWithScore(node=node, score=score))
        return best

    def _score(self, question: str, nodes: list[BaseNode]) -> Sequence[float] | np.ndarray:
        raise NotImplementedError

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("A reranker needs the question: pass query_str or query_bundle.")
        return self.rerank([query_bundle.query_str], [nodes])[0]


class CrossEncoder(Reranker):
    """A model trained to read question and passage together, run by sentence-transformers."""

    _library: Any = PrivateAttr()

    def __init__(
        self, name: str | None = None, chunks: Sequence[BaseNode] = (), top_k: int | None = None
    ) -> None:
        """Load the model.

        Args:
            name: a folder or a hub id; default ``COURSE_RERANKER``.
            chunks: see ``Reranker``, like ``top_k``.

        Raises:
            ModelError: none is named, or it cannot be found or loaded, or has no trained
                classifier.
        """
        super().__init__(chunks, top_k)
        chosen = name or os.environ.get("COURSE_RERANKER")
        if not chosen:
            raise ModelError("Name a cross-encoder: set COURSE_RERANKER to a folder or a hub id.")
        folder = locate(chosen, "reranker")
        with explained_loading(folder):
            from sentence_transformers import CrossEncoder as Library

            architectures = read_json(folder / "config.json").get("architectures") or [""]
            if not architectures[0].endswith("ForSequenceClassification"):
                raise ModelError(f"{chosen} is no cross-encoder: it has no trained classifier.")
            self._library = Library(str(folder), device="cpu", local_files_only=True)

    def _score(self, question: str, nodes: list[BaseNode]) -> np.ndarray:
        pairs = [(question, embedded_text(node)) for node in nodes]
        raw = torch.nn.Identity()  # the classifier's own scores, not squeezed into 0 to 1
        scores = self._library.predict(
            pairs, batch_size=8, show_progress_bar=False, activation_fn=raw
        )
        return scores if scores.ndim == 1 else scores[:, -1]


class RerankedRetriever(NodeRetriever):
    """A retriever with a reranker behind it."""

    def __init__(
        self,
        retriever: NodeRetriever,
        reranker: Reranker,
        top_k: int = 5,
        filters: MetadataFilters | None = None,
        depth: int = 50,
    ) -> None:
        """Put them together.

        Args:
            retriever: finds the candidates.
            reranker: orders them.
            top_k: see ``search``, like ``filters``.
            depth: candidates that are reranked; what is found below them stays below.
        """
        super().__init__(top_k, filters)
        require_positive("depth", depth)
        self.retriever = retriever
        self.reranker = reranker
        self.depth = depth

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        found = self.retriever.search(questions, max(self.depth, top_k), filters)
        heads = [hits[: self.depth] for hits in found]
        reranked = self.reranker.rerank(questions, heads, self.depth)
        for hits, head in zip(found, reranked, strict=True):
            rest = hits[self.depth :]
            floor = head[-1].get_score() if head else 0.0
            tail = [NodeWithScore(node=h.node, score=floor - i) for i, h in enumerate(rest, 1)]
            yield [*head, *tail][:top_k]


def embedded_text(node: BaseNode) -> str:
    """Title and text as the embedder reads them."""
    return node.get_content(MetadataMode.EMBED)
