"""Find nodes for a question: retrievers with LlamaIndex's interface.

Scores are similarities throughout: higher is better."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import bm25s
import faiss
import numpy as np
import Stemmer
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc
from llama_index.core.vector_stores import MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from course_utils.files import InputError, replacing, write_text
from course_utils.models.embedding import Embedder
from course_utils.search.vectors import EmbeddingCache, embed_nodes

NODES = "nodes.jsonl"


def require_positive(name: str, count: int | None) -> None:
    """Refuse a count below 1; None stands for a default.

    Raises:
        InputError: it is below 1.
    """
    if count is not None and count < 1:
        raise InputError(f"{name} must be at least 1, not {count}.")


class NodeRetriever(BaseRetriever):
    """What all retrievers here share: many questions at once, and filters before the ranking."""

    def __init__(self, top_k: int = 5, filters: MetadataFilters | None = None) -> None:
        """Set the defaults of ``search``; ``retrieve`` uses them."""
        super().__init__()
        require_positive("top_k", top_k)
        self.top_k = top_k
        self.filters = filters

    def search(
        self,
        questions: Sequence[str],
        top_k: int | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[list[NodeWithScore]]:
        """Answer many questions at once.

        Args:
            questions: n questions; a blank one finds nothing.
            top_k: nodes per question (all, when there are fewer); default the retriever's.
            filters: which nodes may be found; default the retriever's. They select before the
                ranking, so that others neither appear nor take a place in the top k.

        Returns:
            n lists of nodes, the best first.

        Raises:
            InputError: ``top_k`` is below 1.
        """
        require_positive("top_k", top_k)
        results: list[list[NodeWithScore]] = [[] for _ in questions]
        asked = [i for i, question in enumerate(questions) if question.strip()]
        if asked:
            texts = [questions[i] for i in asked]
            ranked = self._rank(texts, top_k or self.top_k, filters or self.filters)
            for i, hits in zip(asked, ranked, strict=True):
                results[i] = hits
        return results

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        raise NotImplementedError

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.search([query_bundle.query_str])[0]


class IndexRetriever(NodeRetriever):
    """A retriever with an index of its own, which can be saved to a folder."""

    def __init__(
        self, nodes: Sequence[BaseNode], top_k: int, filters: MetadataFilters | None
    ) -> None:
        super().__init__(top_k, filters)
        if not nodes:
            raise InputError("There are no nodes to index; read and chunk some documents first.")
        # In one order, so that a ranking does not depend on the order of the corpus.
        self.nodes = sorted(nodes, key=lambda node: node.node_id)
        for one, other in pairwise(self.nodes):
            if one.node_id == other.node_id:
                raise InputError(f"Two nodes have the id {one.node_id!r}; ids must be unique.")

    def save(self, folder: Path | str) -> None:
        """Write index and nodes to a folder, which is made when missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NODES).unlink(missing_ok=True)  # written last: it says that all is there
        self._save_index(folder)
        lines = [json.dumps(doc_to_json(node)) for node in self.nodes]
        write_text(folder / NODES, "\n".join(lines))

    @classmethod
    def load(cls, folder: Path | str, **settings: Any) -> Self:
        """Read what ``save`` wrote; the ranking is the same.

        Args:
            folder: where it was saved.
            settings: the constructor's, which are not saved: ``embedder`` for dense, ``filters``.

        Raises:
            InputError: no index is saved there, it is damaged, or it was made with another
                embedder.
        """
        path = Path(folder) / NODES
        if not path.is_file():
            raise InputError(f"{folder} holds no saved index; make one with save().")
        try:
            lines = path.read_text(encoding="utf8").split("\n")
            nodes = [json_to_doc(json.loads(line)) for line in lines]
            return cls(nodes, **settings, saved=path.parent)  # type: ignore[call-arg]
        except InputError:
            raise
        except (OSError, EOFError, ValueError, LookupError) as error:
            raise InputError(
                f"The index saved in {folder} is damaged; index the documents again and save()."
            ) from error

    def _save_index(self, folder: Path) -> None:
        raise NotImplementedError

    def _allowed(self, filters: MetadataFilters | None) -> np.ndarray:
        """The places in ``nodes`` that the filters let through."""
        if filters is None:
            return np.arange(len(self.nodes))
        metadata = {node.node_id: node.metadata for node in self.nodes}
        passes = build_metadata_filter_fn(metadata.__getitem__, filters)
        return np.flatnonzero([passes(node.node_id) for node in self.nodes])

    def _hits(self, places: Iterable[int], scores: Iterable[float]) -> list[NodeWithScore]:
        pairs = zip(places, scores, strict=True)
        return [NodeWithScore(node=self.nodes[place], score=float(s)) for place, s in pairs]


class DenseRetriever(IndexRetriever):
    """Nearest neighbours by cosine similarity in an exact FAISS index.

    The vectors have length one, so the inner product of ``IndexFlatIP`` is the cosine. An
    ``IndexFlatL2`` would return distances, where smaller is better, and reverse the ranking of
    whatever sorts by score.
    """

    def __init__(
        self,
        nodes: Sequence[BaseNode],
        embedder: Embedder,
        top_k: int = 5,
        filters: MetadataFilters | None = None,
        saved: Path | None = None,
        embed: Callable[[Sequence[BaseNode], Embedder], np.ndarray] | None = None,
    ) -> None:
        """Index nodes.

        Args:
            nodes: what to search; each is embedded with its title.
            embedder: embeds nodes and questions.
            top_k: see ``search``.
            filters: see ``search``.
            saved: see ``load``.
            embed: makes the vectors of the nodes; default ``embed_nodes``.

        Raises:
            ValueError: no nodes, two with one id, ``top_k`` below 1, or vectors saved with
                another embedder.
        """
        super().__init__(nodes, top_k, filters)
        self.embedder = embedder
        if saved and (saved / "embedder.txt").read_text() != embedder.fingerprint:
            raise InputError(f"{saved} was made with another embedder; index its nodes again.")
        embed = embed or embed_nodes
        made = np.load(saved / "vectors.npy") if saved else embed(self.nodes, embedder)
        self.vectors: np.ndarray = made
        if len(made) != len(self.nodes):
            raise ValueError("vectors and nodes were not saved together")
        self.index = faiss.IndexFlatIP(self.vectors.shape[1])
        self.index.add(self.vectors)

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        allowed = self._allowed(filters)
        if not allowed.size:  # FAISS refuses to return none
            return [[] for _ in questions]
        parameters: Any = faiss.SearchParameters
        chosen = parameters(sel=faiss.IDSelectorBatch(allowed)) if filters else None
        vectors = EmbeddingCache(self.embedder, keep=False).encode_queries(questions)
        k = min(top_k, allowed.size)
        scores, places = self.index.search(vectors, k, params=chosen)
        order = np.lexsort((places, -scores))  # FAISS gives equal scores in any order
        return [self._hits(p[o], s[o]) for p, s, o in zip(places, scores, order, strict=True)]

    def _save_index(self, folder: Path) -> None:
        with replacing(folder / "vectors.npy") as partial, partial.open("wb") as file:
            np.save(file, self.vectors)
        write_text(folder / "embedder.txt", self.embedder.fingerprint)


class BM25Retriever(IndexRetriever):
    """Okapi BM25 (Robertson et al., 1994) over the words of title and text, by bm25s.

    A node that shares no word with the question is not returned, whatever top k asks for. How rare
    a word is, is counted over all nodes, also those that a filter hides.

    Example:
        >>> from llama_index.core import Document
        >>> pages = [Document(id_="a", text="night ferries"), Document(id_="b", text="a bay")]
        >>> BM25Retriever(pages).retrieve("When does the ferry leave?")[0].node_id
        'a'
    """

    def __init__(
        self,
        nodes: Sequence[BaseNode],
        top_k: int = 5,
        filters: MetadataFilters | None = None,
        saved: Path | None = None,
    ) -> None:
        """Index nodes; see ``DenseRetriever``."""
        super().__init__(nodes, top_k, filters)
        if saved:
            self.index = bm25s.BM25.load(saved, show_progress=False)
            if self.index.scores["num_docs"] != len(self.nodes):
                raise ValueError("words and nodes were not saved together")
            return
        self.index = bm25s.BM25(k1=1.5, b=0.75)
        words = content_words([title_and_text(node) for node in self.nodes])
        # bm25s fails when there is no word at all.
        self.index.index(words if any(words) else [[""]] * len(words), show_progress=False)

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        allowed = self._allowed(filters)
        for words in content_words(questions):
            scores = self.index.get_scores(words)[allowed] if words else np.zeros(allowed.size)
            best = np.argsort(-scores, kind="stable")[:top_k]
            best = best[scores[best] > 0]
            yield self._hits(allowed[best], scores[best])

    def _save_index(self, folder: Path) -> None:
        self.index.save(folder, show_progress=False)


def content_words(texts: Sequence[str]) -> list[list[str]]:
    """The words of texts without English stop words, reduced to their stems."""
    options: Any = {"stopwords": "en", "stemmer": Stemmer.Stemmer("english")}
    return bm25s.tokenize(list(texts), **options, return_ids=False, show_progress=False)


def title_and_text(node: BaseNode) -> str:
    """What is embedded, without the names of the fields: "title" would be a word of every node."""
    hidden = node.excluded_embed_metadata_keys
    shown = [str(value) for key, value in node.metadata.items() if key not in hidden]
    return "\n".join([*shown, node.get_content()])
