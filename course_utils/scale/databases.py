"""Search in a Qdrant database, embedded here or a server that many machines ask.

Only an address tells the two apart. Qdrant comes with the extra ``scale`` and is imported where it
is used.
"""

from __future__ import annotations

import os
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.vector_stores import MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from course_utils.models.embedding import Embedder
from course_utils.scale.clusters import ScaleError, embed_stream, import_extra
from course_utils.search.retrieval import NodeRetriever, content_words, title_and_text
from course_utils.search.vectors import EmbeddingCache, embed_nodes

DENSE_FIELD, SPARSE_FIELD = (
    "text-dense",
    "text-sparse-new",
)  # as LlamaIndex's QdrantVectorStore names them


class Database:
    """Nodes with their vectors and words in one Qdrant collection.

    A node's id decides its place, so writing it again replaces it: after a kill, run the same
    again. LlamaIndex's ``QdrantVectorStore`` reads the same collection. One process can open an
    embedded database; a server takes any number.
    """

    def __init__(
        self, address: str, embedder: Embedder, name: str = "pages", mean_words: float = 50
    ) -> None:
        """Open a database, which is made when missing.

        Args:
            address: a folder, ":memory:", or a server's ``http://host:6333``, whose key, if it
                needs one, is read from QDRANT_API_KEY.
            embedder: for what has to be embedded, nodes and questions.
            name: the collection's.
            mean_words: words of an average node, for BM25; fixed when the collection is made.

        Raises:
            ScaleError: Qdrant is missing, the folder is open elsewhere, or the collection was made
                with another embedder.
        """
        qdrant = import_extra("qdrant_client")
        self.types, self.embedder, self.name = qdrant.models, embedder, name
        self._embedding = threading.Lock()  # tokenizers are not safe among threads
        # Neither is the embedded mode; a server is, and is not kept waiting.
        self._one: Any = nullcontext() if _is_server(address) else threading.Lock()
        where: dict[str, Any] = {"path": address, "force_disable_check_same_thread": True}
        if _is_server(address):
            where = {"url": address, "api_key": os.environ.get("QDRANT_API_KEY")}
        elif address == ":memory:":
            where = {"location": address}
        try:
            self.client = qdrant.QdrantClient(**where)
        except RuntimeError as error:
            raise ScaleError(
                f"{address} is open elsewhere: close it there, or start a server."
            ) from error
        if not self.client.collection_exists(name):
            self._create(mean_words)
        kept = self.client.get_collection(name).config.metadata or {}
        if kept.get("embedder") != embedder.fingerprint:
            raise ScaleError(f"{name} was made with another embedder: give this one another name.")
        self.mean_words = kept["mean_words"]
        self.store = import_extra("llama_index.vector_stores.qdrant").QdrantVectorStore(
            name,
            client=self.client,
            enable_hybrid=True,
            sparse_doc_fn=self._weights,
            sparse_query_fn=lambda texts: _sparse(Counter(words) for words in content_words(texts)),
        )

    def _create(self, mean_words: float) -> None:
        size = self.embedder.encode(["a"]).shape[1]
        by_rarity = self.types.SparseVectorParams(modifier=self.types.Modifier.IDF)
        self.client.create_collection(
            self.name,
            {DENSE_FIELD: self.types.VectorParams(size=size, distance=self.types.Distance.COSINE)},
            sparse_vectors_config={SPARSE_FIELD: by_rarity},
            metadata={"embedder": self.embedder.fingerprint, "mean_words": mean_words},
        )

    def __len__(self) -> int:
        with self._one:
            return self.client.count(self.name, exact=True).count

    def close(self) -> None:
        self.client.close()

    def missing(self, nodes: Sequence[BaseNode]) -> list[BaseNode]:
        """Those of some nodes that are not in the database as they are now."""
        kept: dict[str, str] = {}
        for start in range(0, len(nodes), 256):
            places = [_place(node) for node in nodes[start : start + 256]]
            with self._one:
                found = self.client.retrieve(self.name, places, with_payload=["_node_hash"])
            kept |= {str(point.id): point.payload["_node_hash"] for point in found}
        return [node for node in nodes if kept.get(_place(node)) != node.hash]

    def write(self, nodes: Sequence[BaseNode], vectors: np.ndarray | None = None) -> None:
        """Write nodes; one that is there already is replaced.

        Args:
            nodes: n nodes.
            vectors: (n, dimension); computed or read from the cache when None.
        """
        if not nodes:
            return
        with self._embedding:
            rows = embed_nodes(nodes, self.embedder) if vectors is None else vectors
        indices, values = self._weights([title_and_text(node) for node in nodes])
        points = [
            self.types.PointStruct(
                id=_place(node),
                vector={
                    DENSE_FIELD: row.tolist(),
                    SPARSE_FIELD: self.types.SparseVector(indices=which, values=weights),
                },
                payload=node_to_metadata_dict(node) | {"_node_hash": node.hash},
            )
            for node, row, which, weights in zip(nodes, rows, indices, values, strict=True)
        ]
        with self._one:
            self.client.upsert(self.name, points, wait=True)

    def replace(self, page: str, nodes: Sequence[BaseNode]) -> None:
        """Put a page's new nodes in the place of its old ones; no nodes remove the page.

        The new ones are written first, so there is no moment without the page. Once this returns,
        nothing of the old page is found.
        """
        self.write(self.missing(nodes))
        types = self.types
        of_page = types.FieldCondition(key="ref_doc_id", match=types.MatchValue(value=page))
        new = types.HasIdCondition(has_id=[_place(node) for node in nodes])
        with self._one:
            old = types.Filter(must=[of_page], must_not=[new] if nodes else None)
            self.client.delete(self.name, types.FilterSelector(filter=old), wait=True)

    def embed(self, questions: list[str]) -> np.ndarray:
        """Embed questions, one caller at a time."""
        with self._embedding:
            return EmbeddingCache(self.embedder, keep=False).encode_queries(questions)

    def ask(self, query: VectorStoreQuery) -> list[NodeWithScore]:
        """The nodes of LlamaIndex's own query, the best first; of equals the smaller id."""
        with self._one:
            found = self.store.query(query)
        pairs = zip(found.nodes, found.similarities, strict=True)
        hits = [NodeWithScore(node=node, score=score) for node, score in pairs]
        return sorted(hits, key=lambda hit: (-hit.get_score(), hit.node_id))

    def _weights(self, texts: list[str], k1: float = 1.5, b: float = 0.75) -> Any:
        """Each word's part of BM25 but its rarity, which the database counts when it is asked."""
        counts = map(Counter, content_words(texts))
        return _sparse(
            {
                word: n / (n + k1 * (1 - b + b * each.total() / self.mean_words))
                for word, n in each.items()
            }
            for each in counts
        )


class DatabaseRetriever(NodeRetriever):
    """Search in a database, with the interface of the other retrievers.

    For both at once give two of them, by meaning and by words, to a ``FusedRetriever``.
    """

    def __init__(
        self,
        database: Database,
        top_k: int = 5,
        filters: MetadataFilters | None = None,
        by_words: bool = False,
    ) -> None:
        """Search.

        Args:
            database: where.
            top_k: see ``search``.
            filters: see ``search``; the database applies them, before the ranking.
            by_words: BM25 in place of the vectors' cosine.
        """
        super().__init__(top_k, filters)
        self.database = database
        self.mode = VectorStoreQueryMode.SPARSE if by_words else VectorStoreQueryMode.DEFAULT

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterator[list[NodeWithScore]]:
        by_words = self.mode == VectorStoreQueryMode.SPARSE
        rows: Any = [None] * len(questions)
        if not by_words:
            rows = self.database.embed(questions).tolist()
        for question, row in zip(questions, rows, strict=True):
            query = VectorStoreQuery(row, top_k, query_str=question, filters=filters)
            query.mode, query.sparse_top_k = self.mode, top_k
            yield self.database.ask(query)


def index_nodes(
    nodes: Sequence[BaseNode], database: Database, address: str | None = None, workers: int = 2
) -> int:
    """Embed on a cluster what a database lacks, and write each batch as it comes.

    Killed at any moment, it goes on where it was when it is run again.

    Args:
        nodes: what the database is to hold.
        database: where to write.
        address: see ``embed_stream``, like ``workers``.

    Returns:
        How many nodes were missing.
    """
    lacking = database.missing(nodes)
    if not lacking:
        return 0  # Ray takes ten seconds to start
    wanted = database.embedder.fingerprint
    for part in embed_stream(lacking, address, workers, fingerprint=wanted):
        database.write([lacking[place] for place in part.places], part.vectors)
    return len(lacking)


def _is_server(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _place(node: BaseNode) -> str:
    """Qdrant's ids are UUIDs; this one follows from the node's own."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, node.node_id))


def _sparse(texts: Iterable[Mapping[str, float]]) -> tuple[list[list[int]], list[list[float]]]:
    """Words as numbers that are the same everywhere; two words with one number are added up."""
    summed: list[dict[int, float]] = []
    for words in texts:
        summed.append({})
        for word, weight in words.items():
            place = zlib.crc32(word.encode())
            summed[-1][place] = summed[-1].get(place, 0.0) + weight
    return [list(each) for each in summed], [list(each.values()) for each in summed]
