"""The same steps beyond one machine: embedding on a Ray cluster, search in a Qdrant database.

Both run here and on many machines, and only an address tells the two apart. They come with the
extra ``scale`` and are imported where they are used.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import socket
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore
from llama_index.core.vector_stores import MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from course_utils.models import Embedder, load_embedder
from course_utils.retrieval import NodeRetriever, content_words, embed_nodes, title_and_text

MEANING, WORDS = "text-dense", "text-sparse-new"  # as LlamaIndex's QdrantVectorStore names them
START_SECONDS = 300  # after which it is said that the cluster has too few cores for all workers
STORE_BYTES = 80 * 1024**2  # of each local Ray node's object store, the least that Ray takes
# Ray reports to its makers and talks on every channel there is; its logs are in its own folder.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}


class ScaleError(RuntimeError):
    """The extra is missing, an address cannot be used, or something was lost or doubled."""


def need(module: str) -> Any:
    """Import a package of the extra, or say in one sentence how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ScaleError(
            f"{module} is missing ({error}): run `pip install -c constraints.txt -e '.[scale]'` in "
            "the course's folder and restart the kernel."
        ) from None


# --- embedding on a Ray cluster -------------------------------------------------------------------


def load_ray() -> Any:
    """Import Ray with its parts, quietly."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for part in ("ray.data", "ray.cluster_utils"):
        need(part)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is raised
    return need("ray")


@dataclass(frozen=True)
class Part:
    """A batch that one worker embedded: the nodes' places, their vectors, and the machine."""

    places: np.ndarray
    vectors: np.ndarray
    machine: str


class Worker:
    """Loads the model once, in a process of its own, and embeds batch after batch."""

    def __init__(self, load: Callable[[], Embedder], fingerprint: str) -> None:
        self.machine = need("ray").get_runtime_context().get_node_id()
        self.embedder = load()
        if fingerprint and self.embedder.fingerprint != fingerprint:
            raise ScaleError(f"Machine {self.machine} has another embedder; give it the same one.")

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        vectors = self.embedder.encode([str(text) for text in batch["text"]])
        machines = np.full(len(vectors), self.machine)
        return {"place": batch["place"], "vector": vectors, "machine": machines}


def embed_stream(
    nodes: Sequence[BaseNode],
    address: str | None = None,
    workers: int = 2,
    batch: int = 64,
    load: Callable[[], Embedder] = load_embedder,
    fingerprint: str = "",
) -> Iterator[Part]:
    """Embed nodes on a cluster, in batches that come back in any order.

    A worker that dies is started again on a machine that is left, and what it had not delivered
    is computed again.

    Args:
        nodes: n nodes; title and text are embedded.
        address: a cluster's, ``host:6379``; None starts Ray on this machine alone.
        workers: processes, one core each, spread over the machines.
        batch: nodes that a worker takes at a time, and the most that a death costs it.
        load: makes the embedder, in each worker.
        fingerprint: what all their embedders must have; not looked at when empty.

    Raises:
        ScaleError: Ray is missing, no cluster answers at the address, it has too few cores, or a
            worker cannot load its embedder or has another one.
    """
    if not nodes:
        return
    ray = load_ray()
    _connect(ray, address)
    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    # Longest first: a batch then holds texts of nearly one length, and the last ones are quick.
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
    rows = [{"place": place, "text": texts[place]} for place in order]
    embedded = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / batch))
    embedded = embedded.map_batches(
        Worker,
        fn_constructor_kwargs={"load": load, "fingerprint": fingerprint},
        batch_size=None,  # a whole block
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    try:
        for got in embedded.iter_batches(batch_size=None, prefetch_batches=0):
            yield Part(got["place"], np.stack(got["vector"]), str(got["machine"][0]))
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise ScaleError(f"The cluster could not embed: {last}") from error


def gather(parts: Iterable[Part], n: int) -> np.ndarray:
    """Put the parts together in the order of the nodes.

    Raises:
        ScaleError: a node's vector is missing, or came twice.
    """
    rows: dict[int, np.ndarray] = {}
    for part in parts:
        for place, vector in zip(part.places.tolist(), part.vectors, strict=True):
            if place in rows:
                raise ScaleError(f"The vector of node {place} came twice.")
            rows[place] = vector
    if len(rows) != n:
        raise ScaleError(f"{n - len(rows)} of {n} vectors are missing.")
    return np.stack([rows[place] for place in range(n)])


def local_cluster(machines: int = 2, cores: int = 2) -> Any:
    """A Ray cluster of several nodes on this machine, each with processes of its own.

    Args:
        machines: nodes that work; one more, the head, has no core and only keeps the books.
        cores: of each node, as Ray counts them; the real ones are shared.

    Returns:
        ray's ``Cluster``: its ``address``, ``worker_nodes``, ``remove_node`` and ``shutdown``.
    """
    ray = load_ray()
    each: dict[str, Any] = {"object_store_memory": STORE_BYTES}
    # A dead node is noticed after 5 s; Ray's own 15 s suit real networks.
    head = each | {"num_cpus": 0, "include_dashboard": False}
    head["_system_config"] = {"health_check_period_ms": 1000}
    cluster = ray.cluster_utils.Cluster()
    with _starting():
        for node in (head, *[each | {"num_cpus": cores}] * machines):
            for tries_left in (2, 1, 0):  # a busy machine can take longer than Ray waits
                try:
                    cluster.add_node(**node)
                    break
                except Exception:  # Ray raises just this
                    if not tries_left:
                        raise
        cluster.wait_for_nodes()
    return cluster


def _connect(ray: Any, address: str | None) -> None:
    if address:
        host, _, port = address.rpartition(":")
        try:  # Ray itself would knock for ten minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            raise ScaleError(f"No Ray cluster answers at {address}: is it started?") from error
    if not ray.is_initialized():
        own = {} if address else {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        with _starting():
            ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **own)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.wait_for_min_actors_s = START_SECONDS


@contextmanager
def _starting() -> Iterator[None]:
    """Say in a sentence what fails, and keep stderr clear of what Ray's C++ half writes there."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    except Exception as error:
        raise ScaleError(f"Ray did not start; on a busy machine, try again. ({error})") from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# --- search in Qdrant -----------------------------------------------------------------------------


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
        qdrant = need("qdrant_client")
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
        self.store = need("llama_index.vector_stores.qdrant").QdrantVectorStore(
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
            {MEANING: self.types.VectorParams(size=size, distance=self.types.Distance.COSINE)},
            sparse_vectors_config={WORDS: by_rarity},
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
                    MEANING: row.tolist(),
                    WORDS: self.types.SparseVector(indices=which, values=weights),
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
            return self.embedder.encode(questions)

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


def index(
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
