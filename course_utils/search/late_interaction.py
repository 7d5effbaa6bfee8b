"""Late interaction (MaxSim): every token of the question looks for its like. Notebook 04."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from llama_index.core.schema import BaseNode
from pydantic import PrivateAttr
from torch.nn.functional import normalize

from course_utils.models.cache import cached
from course_utils.models.embedding import Embedder
from course_utils.search.reranking import Reranker, embedded_text


class LateInteraction(Reranker):
    """MaxSim (ColBERT: Khattab and Zaharia, 2020) over an embedder's token vectors.

    Each token of the question looks for the most similar token of the passage, and the passage
    scores the mean of these cosines. When there are ``chunks``, a token counts the more the fewer
    of them hold it, by BM25's formula; [CLS] and [SEP] never count.
    """

    _embedder: Embedder = PrivateAttr()
    _remember: bool = PrivateAttr()
    _holders: Counter[int] = PrivateAttr()
    _total: int = PrivateAttr()
    _change: torch.Tensor | None = PrivateAttr(default=None)
    _vectors: dict[str, torch.Tensor] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        embedder: Embedder,
        chunks: Sequence[BaseNode] = (),
        top_k: int | None = None,
        remember: bool = True,
    ) -> None:
        """Count how rare each token is; see ``Reranker``.

        ``remember`` keeps the passages' token vectors in the cache folder too; not where one
        measures how long embedding takes.
        """
        super().__init__(chunks, top_k)
        self._embedder = embedder
        self._remember = remember
        self._total = len(chunks)
        self._holders = Counter()
        for chunk in chunks:
            self._holders.update(set(embedder.tokenizer(embedded_text(chunk))["input_ids"]))

    def token_weights(self, question: str) -> torch.Tensor:
        """How much each token of a question counts: (tokens,), with sum 1."""
        tokenizer = self._embedder.tokenizer
        ids = self._ids([question])["input_ids"][0]
        holders = torch.tensor([float(self._holders[i]) for i in ids])
        rarity = torch.log(1 + (self._total - holders + 0.5) / (holders + 0.5))
        real = torch.tensor([float(i not in tokenizer.all_special_ids) for i in ids])
        weights = real * (rarity if self._total else 1)
        return weights / weights.sum().clamp(min=1e-9)

    @torch.inference_mode()
    def token_vectors(self, texts: Sequence[str], batch: int = 16) -> list[torch.Tensor]:
        """One vector of length 1 for each token of each text: n times (tokens, dimension)."""
        if not texts:
            return []
        encoded = self._ids(texts)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        order = sorted(range(len(texts)), key=lambda i: -lengths[i])
        vectors: list[Any] = [None] * len(texts)
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            each = {name: [values[i] for i in some] for name, values in encoded.items()}
            padded = self._embedder.tokenizer.pad(each, return_tensors="pt")
            hidden = normalize(self._embedder.transformer(**padded).last_hidden_state, dim=-1)
            for i, rows in zip(some, hidden, strict=True):
                vectors[i] = rows[: lengths[i]].clone()
        return vectors

    def _ids(self, texts: Sequence[str]) -> Any:
        limit = self._embedder.max_tokens
        return self._embedder.tokenizer(list(texts), truncation=True, max_length=limit)

    def _score(self, question: str, nodes: list[BaseNode]) -> np.ndarray:
        asked = self.token_vectors([question])[0]
        if self._change is not None:
            asked = normalize(asked + asked @ self._change, dim=-1)
        passages = self.passage_vectors(nodes)
        return max_sim(asked, passages, self.token_weights(question)).numpy()

    def passage_vectors(self, nodes: Sequence[BaseNode], limit: int = 3000) -> list[torch.Tensor]:
        """Token vectors of nodes; the last ``limit`` nodes' stay in memory. In 16 bits."""
        keys = [node.hash for node in nodes]
        pairs = zip(keys, nodes, strict=True)
        new = {key: embedded_text(node) for key, node in pairs if key not in self._vectors}
        self._vectors |= zip(new, self._stored(list(new.values())), strict=True)
        found = [self._vectors[key] for key in keys]
        for key in list(self._vectors)[:-limit]:
            del self._vectors[key]
        return found

    def _stored(self, texts: list[str]) -> list[torch.Tensor]:
        """``token_vectors`` in 16 bits, read from disk where they have been computed before."""

        def compute(places: Sequence[int]) -> list[bytes]:
            made = self.token_vectors([texts[place] for place in places])
            return [vectors.half().numpy().tobytes() for vectors in made]

        keys = [f"{self._embedder.fingerprint} {text}" for text in texts]
        raw = cached("tokens", keys, compute) if self._remember else compute(range(len(texts)))
        vectors = [torch.frombuffer(bytearray(one), dtype=torch.half) for one in raw]
        return [each.view(-1, self.dimension) for each in vectors]

    def forget(self) -> None:
        """Free the memory of the remembered vectors, those of tuned copies included."""
        self._vectors.clear()

    def with_layer(self, change: torch.Tensor) -> LateInteraction:
        """A copy that moves the question's token vectors by a learned linear layer.

        Args:
            change: (dimension, dimension), added to the identity; ``lab.rerank_training`` learns
                one.
        """
        tuned = LateInteraction(self._embedder, (), self.top_k)
        for name in ("_chunks", "_holders", "_remember", "_total", "_vectors"):
            setattr(tuned, name, getattr(self, name))
        tuned._change = change
        return tuned

    @property
    def dimension(self) -> int:
        """Of a token vector."""
        return self._embedder.transformer.config.hidden_size

    def fingerprint(self) -> str:
        """Names everything that decides the token vectors and their weights."""
        return repr((self._embedder.fingerprint, self._total, sorted(self._holders.items())))


def max_sim(
    asked: torch.Tensor, passages: Sequence[torch.Tensor], weights: torch.Tensor
) -> torch.Tensor:
    """The weighted sum, over a question's tokens, of the best cosine in each passage.

    Args:
        asked: (q, dimension), rows of length 1.
        passages: m times (tokens, dimension), rows of length 1.
        weights: (q,).

    Returns:
        (m,) scores.
    """
    # A passage at a time stays in the processor's cache: twice as fast as all in one product.
    best = [(asked @ passage.float().T).amax(dim=1) for passage in passages]
    return weights @ torch.stack(best, dim=1)
