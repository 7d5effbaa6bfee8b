"""Finding nodes for a question: retrievers with LlamaIndex's interface.

Scores are similarities throughout: higher is better.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing

import faiss
import numpy as np
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle

from course_utils.models import Embedder, cache_dir, release_memory


class DenseRetriever(BaseRetriever):
    """Nearest neighbours by cosine similarity in an exact FAISS index.

    The vectors have length one, so the inner product of ``IndexFlatIP`` is the cosine. An
    ``IndexFlatL2`` would return distances, where smaller is better, and reverse the ranking of
    whatever sorts by score.
    """

    def __init__(self, nodes: Sequence[BaseNode], embedder: Embedder, top_k: int = 5) -> None:
        """Index nodes.

        Args:
            nodes: what to search; each is embedded with its title.
            embedder: embeds nodes and questions.
            top_k: nodes returned for a question (all, when there are fewer).

        Raises:
            ValueError: no nodes, or ``top_k`` below 1.
        """
        super().__init__()
        if not nodes:
            raise ValueError("There are no nodes to index; read and chunk some documents first.")
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}.")
        self.nodes = list(nodes)
        self.embedder = embedder
        self.top_k = top_k
        self.vectors = embed_nodes(self.nodes, embedder)
        self.index = faiss.IndexFlatIP(self.vectors.shape[1])
        self.index.add(self.vectors)

    def search(
        self, questions: Sequence[str], top_k: int | None = None
    ) -> list[list[NodeWithScore]]:
        """Answer many questions at once.

        Args:
            questions: n questions; a blank one finds nothing.
            top_k: nodes per question; default the retriever's.

        Returns:
            n lists of nodes, the most similar first.
        """
        found: list[list[NodeWithScore]] = [[] for _ in questions]
        asked = [i for i, question in enumerate(questions) if question.strip()]
        if not asked:
            return found
        vectors = self.embedder.encode([questions[i] for i in asked])
        k = min(top_k or self.top_k, len(self.nodes))
        for i, scores, places in zip(asked, *self.index.search(vectors, k), strict=True):
            found[i] = [
                NodeWithScore(node=self.nodes[place], score=float(score))
                for score, place in zip(scores, places, strict=True)
            ]
        return found

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.search([query_bundle.query_str])[0]


def embed_nodes(nodes: Sequence[BaseNode], embedder: Embedder) -> np.ndarray:
    """Embed nodes, reading what was embedded before from the cache.

    Args:
        nodes: n nodes; title and text are embedded.
        embedder: the model.

    Returns:
        (n, dimension) float32 array with rows of length 1.
    """
    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    return EmbeddingCache(embedder).encode(texts)


class EmbeddingCache:
    """Vectors on disk, keyed by the model and the text: a changed text or model is a new key.

    One SQLite file holds all models', which makes it safe to use from several kernels.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.misses = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts; see ``Embedder.encode``. ``misses`` counts those that had to be computed."""
        keys = [self._key(text) for text in texts]
        with closing(sqlite3.connect(cache_dir() / "embeddings.sqlite", timeout=60)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS vector (key BLOB PRIMARY KEY, value BLOB)")
            known: dict[bytes, bytes] = {}
            for key in set(keys):
                row = db.execute("SELECT value FROM vector WHERE key = ?", (key,)).fetchone()
                if row:
                    known[key] = row[0]
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            self.misses = len(missing)
            if missing:
                computed = self.embedder.encode(list(missing.values()))
                fresh = {key: row.tobytes() for key, row in zip(missing, computed, strict=True)}
                db.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?)", fresh.items())
                known |= fresh
                release_memory()
        return np.stack([np.frombuffer(known[key], dtype=np.float32) for key in keys])

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.embedder.fingerprint}\0{text}".encode()).digest()
