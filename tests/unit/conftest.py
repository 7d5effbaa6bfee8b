"""Small stand-ins, so that unit tests need no model weights."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from course_utils.models import recordings
from course_utils.models.generator import LanguageModel

WORDS = ["<s>", "</s>", "system", "user", "assistant", "what", "is", "the", "port", "of"]
WORDS += ["lampd", "ferry", "cellar", "?", "1", "2", "3", "4", "5"]
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s> {% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {% endif %}"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "course-cache"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for recordings, and a notebook that uses them until the test ends."""
    for name in ("COURSE_LIVE", "COURSE_RECORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSE_RECORDINGS_USED", str(tmp_path / "used.jsonl"))
    yield tmp_path
    recordings.use_recordings("")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Words and punctuation marks are tokens."""
    raw = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]")


class WordEmbedder:
    """Embeds a text as its bag of words: texts that share words are near."""

    fingerprint = "words"

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: list[str]) -> np.ndarray:
        self.calls += 1
        vectors = np.zeros((len(texts), 512), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.strip(".,?!").encode()) % 512] += 1
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, 1e-9)


@pytest.fixture
def embedder() -> Any:
    return WordEmbedder()


@pytest.fixture
def llm() -> LanguageModel:
    """A random Llama of two layers that knows 19 words, and a chat template for it."""
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="what"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="</s>", bos_token="<s>", pad_token="</s>"
    )
    tokenizer.chat_template, tokenizer.padding_side = TEMPLATE, "left"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LanguageModel("tiny", LlamaForCausalLM(config).eval(), tokenizer)
