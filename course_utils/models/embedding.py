"""Sentence embedders: texts to vectors of length one. Notebooks 01 and 02."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import PrivateAttr

from course_utils.models.fetching import locate
from course_utils.models.registry import DEFAULTS, REGISTRY, ModelError
from course_utils.models.weights import (
    explained_loading,
    load_pretrained,
    read_json,
    weights_digest,
)


class Embedder(BaseEmbedding):
    """A transformer, the mean of its token vectors, scaled to length one.

    It is a LlamaIndex embedding model and gives the vectors that sentence-transformers gives for
    the same folder (Reimers and Gurevych, 2019). ``variant`` names what was changed after loading,
    such as "int8".
    """

    variant: str = ""
    has_query_prompt: ClassVar[bool] = False  # whether questions are embedded unlike passages
    _model: Any = PrivateAttr()
    _tokenizer: Any = PrivateAttr()
    _max_tokens: int = PrivateAttr()
    _digest: str = PrivateAttr()

    def __init__(self, folder: Path, name: str) -> None:
        """Load a folder; see ``load_embedder``."""
        super().__init__(model_name=name, embed_batch_size=256)
        self._model, self._tokenizer = load_pretrained(folder, "AutoModel")
        self._model.float()
        limit = _settings(folder).get("max_seq_length") or self._tokenizer.model_max_length
        self._max_tokens = _within_positions(limit, self._model)
        self._digest = f"{weights_digest(self._model)} mean {self._max_tokens}"
        if name not in REGISTRY:  # whose tokenizers are pinned together with the weights
            self._digest += f" {_settings_digest(folder)}"

    @classmethod
    def class_name(cls) -> str:
        return "Embedder"

    @property
    def transformer(self) -> Any:
        """The transformers model below the pooling."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def max_tokens(self) -> int:
        """Tokens that are read, the special ones included; the rest of a text is cut off."""
        return self._max_tokens

    @property
    def dimension(self) -> int:
        return self._model.config.hidden_size

    @property
    def fingerprint(self) -> str:
        """Names everything that decides the vectors; vectors are cached under it."""
        return f"{self._digest} {self.variant}".strip()

    def encode(self, texts: Sequence[str], tokens_per_batch: int = 2048) -> np.ndarray:
        """Embed passages.

        Args:
            texts: n texts.
            tokens_per_batch: upper bound on padded tokens run at once, which bounds memory; larger
                batches leave the processor's cache and are slower.

        Returns:
            (n, dimension) float32 array, each row of length 1.
        """
        return self._stack(self.encode_batches(texts, "document", tokens_per_batch), len(texts))

    def encode_queries(self, texts: Sequence[str], tokens_per_batch: int = 2048) -> np.ndarray:
        """Embed questions, with the model's prompt for them if it has one; see ``encode``."""
        return self._stack(self.encode_batches(texts, "query", tokens_per_batch), len(texts))

    def encode_batches(
        self, texts: Sequence[str], role: str = "document", tokens_per_batch: int = 2048
    ) -> Iterator[dict[int, np.ndarray]]:
        """Embed texts batch by batch, so that each batch can be saved when it is done.

        Args:
            texts: n texts.
            role: "document" or "query".
            tokens_per_batch: see ``encode``.

        Yields:
            For each batch, its texts' places in ``texts`` with their vectors, (dimension,).
        """
        lengths = [len(ids) for ids in self._tokens(texts)["input_ids"]] if texts else []
        # Longest first, so that a batch holds texts of nearly one length and pads little.
        order = sorted(range(len(texts)), key=lambda i: -lengths[i])
        start = 0
        while start < len(order):
            size = max(1, tokens_per_batch // max(1, lengths[order[start]]))
            batch = order[start : start + size]
            yield dict(zip(batch, self._embed([texts[i] for i in batch], role), strict=True))
            start += size

    def _tokens(self, texts: Sequence[str], **options: Any) -> Any:
        return self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens, **options)

    @torch.inference_mode()
    def _embed(self, texts: list[str], role: str) -> np.ndarray:
        inputs = self._tokens(texts, padding=True, return_tensors="pt")
        hidden = self._model(**inputs).last_hidden_state  # (batch, tokens, dimension)
        mask = inputs["attention_mask"].unsqueeze(-1)  # (batch, tokens, 1): 0 for padding
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)  # (batch, dimension)
        return torch.nn.functional.normalize(pooled, dim=1).numpy()

    def _stack(self, batches: Iterator[dict[int, np.ndarray]], n: int) -> np.ndarray:
        vectors = np.zeros((n, self.dimension), dtype=np.float32)
        for batch in batches:
            vectors[list(batch)] = list(batch.values())
        return vectors

    def _get_text_embedding(self, text: str) -> list[float]:
        return self.encode([text])[0].tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self.encode(texts).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.encode_queries([query])[0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class LibraryEmbedder(Embedder):
    """Any other embedder, run by sentence-transformers: another pooling, dense layers, prompts.

    Importing that library takes 140 MB of memory, so the course's own model does without it.
    Passages are embedded as by its ``encode_document``, questions as by its ``encode_query``.
    """

    has_query_prompt: ClassVar[bool] = True  # the library decides: they are cached apart
    _library: Any = PrivateAttr()

    def __init__(self, folder: Path, name: str) -> None:
        """Load a folder; see ``load_embedder``."""
        BaseEmbedding.__init__(self, model_name=name, embed_batch_size=256)
        with explained_loading(folder):
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()
            settings: Any = {"local_files_only": True, "model_kwargs": {"dtype": "float32"}}
            self._library = SentenceTransformer(str(folder), device="cpu", **settings)
            self._model, self._tokenizer = self._library[0].auto_model, self._library.tokenizer
            self._max_tokens = _within_positions(self._library.max_seq_length, self._model)
            self._library.max_seq_length = self._max_tokens
            self._digest = f"{weights_digest(self._library)} {_settings_digest(folder)}"
            self._library.encode("a")  # fails if a module does not fit the one before it

    @property
    def dimension(self) -> int:
        return self._library.get_embedding_dimension()

    def _embed(self, texts: list[str], role: str) -> np.ndarray:
        encode = self._library.encode_query if role == "query" else self._library.encode_document
        return encode(texts, batch_size=len(texts), normalize_embeddings=True)


def load_embedder(name: str | None = None) -> Embedder:
    """Load an embedder.

    Args:
        name: a registry name, a folder or a hub id; default ``COURSE_EMBEDDER`` or MiniLM. For a
            folder without ``modules.json`` sentence-transformers chooses the pooling: the mean, or
            the last token if the transformer is a decoder.

    Raises:
        ModelError: the model cannot be found or loaded, or is not an embedder.
    """
    chosen = name or os.environ.get("COURSE_EMBEDDER") or DEFAULTS["embedder"]
    folder = locate(chosen, "embedder")
    return Embedder(folder, chosen) if _takes_means(folder) else LibraryEmbedder(folder, chosen)


def encode_queries(embedder: Any, texts: Sequence[str]) -> np.ndarray:
    """Embed questions with any embedder.

    Args:
        embedder: has ``encode_queries``, or only ``encode`` if it treats all texts alike.
        texts: n questions.

    Returns:
        (n, dimension) float32 array, each row of length 1.
    """
    return getattr(embedder, "encode_queries", embedder.encode)(texts)


def _takes_means(folder: Path) -> bool:
    """Whether a folder asks for a BERT, the mean of its token vectors and nothing else.

    Raises:
        ModelError: sentence-transformers would take means there, whatever the folder asks for.
    """
    with explained_loading(folder):
        modules = read_json(folder / "modules.json")
        library = read_json(folder / "config_sentence_transformers.json")
        kind = library.get("model_type") or "SentenceTransformer"
        if kind != "SentenceTransformer":
            raise ModelError(f"{folder} holds a {kind}; choose a SentenceTransformer.")
        if not modules and (library or any(folder.glob("*_Pooling"))):
            raise ModelError(f"{folder} lacks its modules.json; fetch the whole model again.")
        types = [re.sub(r"^sentence_transformers\..*\.", "", each["type"]) for each in modules]
        if types not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            return False
        pooling = read_json(folder / modules[1]["path"] / "config.json")
        model = read_json(folder / modules[0]["path"] / "config.json")
        settings = _settings(folder)
    ways = {key: way for key, way in pooling.items() if key.startswith("pooling_mode") and way}
    means = ways in ({"pooling_mode": "mean"}, {"pooling_mode_mean_tokens": True})
    bert = model.get("model_type") == "bert" and not modules[0]["path"]
    extras = [*(library.get("prompts") or {}).values(), library.get("truncate_dim")]
    extras += [value for key, value in settings.items() if key != "max_seq_length"]
    return means and bert and not any(extras)


def _settings(folder: Path) -> dict[str, Any]:
    """What sentence-transformers saves beside a transformer, under a name for its kind."""
    return read_json(next(folder.glob("sentence_*_config.json"), folder / "none"))


def _within_positions(limit: int, model: Any) -> int:
    """How many tokens are read: at most ``limit``, and as many as the model has positions."""
    positions = getattr(model.config, "max_position_embeddings", 0) or 0
    table: Any = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if getattr(table, "padding_idx", None) is not None:  # RoBERTa counts on from its padding's id
        positions -= table.padding_idx + 1
    return min(limit, positions if positions > 0 else 2**31 - 1)


def _settings_digest(folder: Path) -> str:
    """A hash of the small files: configuration, tokenizer, prompts."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".txt", ".model"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
