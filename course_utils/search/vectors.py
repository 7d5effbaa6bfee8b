"""Vectors of texts: from a recording, from the cache folder, or computed. Notebooks 01 and 02."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode

from course_utils.models.cache import Batches, cached, in_order
from course_utils.models.embedding import Embedder, encode_queries
from course_utils.models.recorded_vectors import as_kept, recorded_by
from course_utils.models.weights import release_memory


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

    In a notebook of the course, its recordings are read first.
    """

    def __init__(self, embedder: Embedder, keep: bool = True) -> None:
        """Choose the embedder; without ``keep`` nothing is written to the cache folder."""
        self.embedder = embedder
        self.keep = keep
        self.misses = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts; see ``Embedder.encode``. ``misses`` counts those that had to be computed."""
        return self._encode(texts, "document")

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed questions; see ``Embedder.encode_queries`` and ``encode``."""
        prompted = getattr(self.embedder, "has_query_prompt", False)
        return self._encode(texts, "query" if prompted else "document")

    def _encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        self.misses = 0
        if not texts:
            return self.embedder.encode([])
        name = self.embedder.fingerprint + (" query" if role == "query" else "")

        def compute(places: Sequence[int]) -> Batches:
            self.misses = len(places)
            chosen = [texts[place] for place in places]
            if hasattr(self.embedder, "encode_batches"):
                return self.embedder.encode_batches(chosen, role)
            asked = role == "query"
            rows = encode_queries(self.embedder, chosen) if asked else self.embedder.encode(chosen)
            return iter([dict(enumerate(rows))])

        return known_vectors(
            self.embedder, [f"{name}\0{text}" for text in texts], compute, self.keep
        )


def known_vectors(
    embedder: Embedder,
    keys: Sequence[str],
    compute: Callable[[Sequence[int]], Batches],
    keep: bool = True,
) -> np.ndarray:
    """Vectors from the notebook's recording, or from the cache folder, or computed.

    Args:
        embedder: makes them.
        keys: n keys: the embedder's fingerprint and what decides the vector.
        compute: is given some places in ``keys`` and returns their vectors, (dimension,) float32,
            batch by batch, each batch as {place in that list: vector}.
        keep: whether what is computed goes into the cache folder.

    Returns:
        (n, dimension) float32 array.
    """
    recording = recorded_by(embedder)
    found = recording.find(keys) if recording else {}
    missing = [place for place in range(len(keys)) if place not in found]
    if missing:
        unknown = [keys[place] for place in missing]

        def batches(places: Sequence[int]) -> Iterator[dict[int, bytes]]:
            for batch in compute([missing[place] for place in places]):
                yield {i: row.tobytes() for i, row in batch.items()}
            release_memory()

        # What is being recorded is computed, whatever the cache holds.
        direct = not keep or (recording is not None and recording.appends)
        made = in_order(batches(range(len(unknown)))) if direct else None
        raw = cached("embeddings", unknown, batches) if made is None else made
        rows = [np.frombuffer(value, dtype=np.float32) for value in raw]
        if recording is not None and recording.appends:
            recording.add(unknown, rows)
            rows = [as_kept(row) for row in rows]
        found |= dict(zip(missing, rows, strict=True))
    return np.stack([found[place] for place in range(len(keys))])
