"""Embedders without a transformer: averaged word vectors, LSA, hashed character n-grams.

Like `models.Embedder` each has ``encode``, texts to (n, dimension) float32 rows of length 1, and
``fingerprint``, which names what decides the vectors, so the retriever and the cache take any.
A text that holds nothing an embedder knows gets a row of zeros.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from tokenizers import Tokenizer

from course_utils.models.fetching import fetch
from course_utils.models.weights import explained_loading


class StaticEmbedder:
    """One fixed vector for each token, whatever stands beside it; a text is their average.

    WordLlama's come from the input layer of a large language model, trained further on pairs of
    texts (Miller, 2024). There is no limit on a text's length.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Load a matrix and its tokenizer.

        Args:
            folder: holds ``model.safetensors`` with one matrix and ``tokenizer.json``, as Model2Vec
                models do; default WordLlama's, fetched when missing.

        Raises:
            ModelError: a file is missing or damaged.
        """
        folder = folder or fetch("wordllama-l2-256")
        files = [folder / "model.safetensors", folder / "tokenizer.json"]
        with explained_loading(folder):
            (self.vectors,) = load_file(files[0]).values()
            self.tokenizer = Tokenizer.from_file(str(files[1]))
            self.fingerprint = f"static {_digest(*(file.read_bytes() for file in files))}"
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        rows = np.zeros((len(texts), self.vectors.shape[1]), dtype=np.float32)
        for row, text in zip(rows, encoded, strict=True):
            row += self.vectors[text.ids].sum(axis=0, dtype=np.float32)
        return _unit_rows(rows)


class LsaEmbedder:
    """Latent semantic analysis: TF-IDF, cut to its strongest directions (Deerwester et al., 1990).

    It learns from the texts it will search and from nothing else.
    """

    def __init__(self, texts: Sequence[str], dimension: int = 256) -> None:
        """Fit.

        Args:
            texts: the collection, more than ``dimension`` of them.
            dimension: directions kept.
        """
        spread = Counter(word for text in texts for word in set(_words(text)))
        self.columns = {word: column for column, word in enumerate(sorted(spread))}
        self.idf = np.log((1 + len(texts)) / (1 + np.array([spread[w] for w in self.columns]))) + 1
        _, strength, directions = svds(self._weighted(texts), k=dimension, rng=0)
        # A direction has no sign: the machine decides. Here its largest weight is positive.
        largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)
        self.directions = (directions * np.sign(largest))[np.argsort(-strength)].T
        # The texts, not the directions, whose last digits depend on the machine.
        self.fingerprint = f"lsa with signs {_digest(json.dumps(list(texts)).encode())} {dimension}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return _unit_rows(self._weighted(texts) @ self.directions)

    def _weighted(self, texts: Sequence[str]) -> csr_array:
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for row, text in enumerate(texts):
            known = Counter(self.columns[w] for w in _words(text) if w in self.columns)
            weights = np.array([(1 + np.log(n)) * self.idf[c] for c, n in known.items()])
            rows += [row] * len(known)
            columns += known
            values += list(weights / max(np.linalg.norm(weights), 1e-9))
        return csr_array((values, (rows, columns)), shape=(len(texts), len(self.columns)))


class NgramEmbedder:
    """Character n-grams counted in ``dimension`` hashed places: spelling alone, nothing learned."""

    def __init__(self, dimension: int = 2048, length: int = 4) -> None:
        self.dimension = dimension
        self.length = length
        self.fingerprint = f"ngrams {dimension} {length}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            padded = f" {' '.join(_words(text))} ".encode()
            ends = range(self.length, len(padded) + 1)
            places = [zlib.crc32(padded[end - self.length : end]) % self.dimension for end in ends]
            np.add.at(row, places, 1)
        return _unit_rows(np.sqrt(vectors))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-9)).astype(np.float32)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()
