"""Folders as old and current releases of sentence-transformers write them, around a tiny BERT."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from course_utils.models import Embedder, ModelError, encode_queries
from course_utils.retrieval import EmbeddingCache

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "lantern", "battery", "crib", "night", "ferry", "find"]
TEXTS = ["lantern battery", "crib", "night ferry night lantern", "ferry"]
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
MODULES = "sentence_transformers.base.modules"
NEW = {kind: f"{MODULES}.{kind.lower()}.{kind}" for kind in ("Dense", "Normalize")}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def set_pooling(folder: Path, config: dict[str, Any]) -> None:
    write(folder / "1_Pooling" / "config.json", config)


def set_modules(folder: Path, *kinds: str) -> None:
    first = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    listed = []
    for place, kind in enumerate((*first, *kinds)):
        path = f"{place}_{kind.rpartition('.')[2]}" if place else ""
        listed.append({"type": NEW.get(kind, kind), "path": path})
    write(folder / "modules.json", listed)


def save_tokenizer(folder: Path, **settings: Any) -> None:
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), WORDS, strict=False))
    PreTrainedTokenizerFast(tokenizer_object=raw, **special, **settings).save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES, initializer_range=0.5)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    set_pooling(tmp_path, {})
    return tmp_path


def tokens(folder: Path, text: str) -> np.ndarray:
    """The vectors of one text's tokens, which needs no padding."""
    ids = [2, *(WORDS.index(word) for word in text.split()), 3]
    with torch.inference_mode():
        hidden = BertModel.from_pretrained(folder).eval()(torch.tensor([ids])).last_hidden_state
    return hidden[0].numpy()


def unit(rows: Any) -> np.ndarray:
    return np.array(rows) / np.linalg.norm(rows, axis=-1, keepdims=True)


BY_HAND: dict[str, Any] = {
    "cls": lambda rows: rows[0],
    "max": lambda rows: rows.max(0),
    "mean": lambda rows: rows.mean(0),
    "mean_sqrt_len_tokens": lambda rows: rows.sum(0) / len(rows) ** 0.5,
    "weightedmean": lambda rows: np.average(rows, axis=0, weights=np.arange(len(rows)) + 1),
    "lasttoken": lambda rows: rows[-1],
}
OLD = {
    **{mode: f"pooling_mode_{mode}_tokens" for mode in ("max", "mean", "weightedmean")},
    "cls": "pooling_mode_cls_token",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
CONFIGS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["mean"]),
    *(({"pooling_mode": mode}, [mode]) for mode in BY_HAND),
    *(({OLD["mean"]: False, key: True}, [mode]) for mode, key in OLD.items()),
    ({"pooling_mode": ["mean", "cls"]}, ["mean", "cls"]),
    ({OLD["mean"]: True, OLD["max"]: True, OLD["cls"]: True}, ["cls", "max", "mean"]),
    ({OLD["lasttoken"]: True, OLD["weightedmean"]: True}, ["weightedmean", "lasttoken"]),
    ({"pooling_mode": "cls", OLD["mean"]: True}, ["cls"]),
]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("config", "modes"), CONFIGS)
def test_every_pooling(folder: Path, config: dict[str, Any], modes: list[str], side: str) -> None:
    save_tokenizer(folder, padding_side=side)
    set_modules(folder, "Normalize")
    set_pooling(folder, config)
    wanted = [
        np.concatenate([BY_HAND[mode](tokens(folder, text)) for mode in modes]) for text in TEXTS
    ]
    if side == "left":  # BERT counts positions from the batch's first column
        rows = np.vstack([Embedder(folder, "tiny").encode([text]) for text in TEXTS])
        together = Embedder(folder, "tiny").encode(TEXTS[:1] * 3)
        assert np.allclose(together, rows[0], atol=1e-6)
    else:
        rows = Embedder(folder, "tiny").encode(TEXTS)
    assert np.allclose(rows, unit(wanted), atol=1e-6)


@pytest.mark.parametrize("mode", BY_HAND)
def test_padding_on_either_side_is_not_pooled(mode: str) -> None:
    from course_utils.models import _pooled

    hidden = torch.randn(1, 5, 8)
    wanted = BY_HAND[mode](hidden[0, 1:4].numpy())  # the prompt's two tokens are before them
    alone = BY_HAND[mode](hidden[0, :3].numpy())
    right, left = torch.tensor([[1, 1, 1, 0, 0]]), torch.tensor([[0, 1, 1, 1, 0]])
    assert np.allclose(_pooled(hidden, right, mode, 0)[0], alone, atol=1e-6)
    assert np.allclose(_pooled(hidden, left, mode, 0)[0], wanted, atol=1e-6)


def test_batches_give_each_text_its_row(folder: Path) -> None:
    embedder = Embedder(folder, "tiny")
    batches = list(embedder.encode_batches(TEXTS, tokens_per_batch=8))
    assert len(batches) > 1 and sorted(i for batch in batches for i in batch) == [0, 1, 2, 3]
    rows = embedder.encode(TEXTS, tokens_per_batch=8)
    for batch in batches:
        for place, row in batch.items():
            assert np.array_equal(rows[place], row)
    assert embedder.encode([]).shape == (0, 8)


# --- dense layers ---------------------------------------------------------------------------------


def set_dense(folder: Path, name: str, n: int, m: int, **config: Any) -> dict[str, torch.Tensor]:
    settings = {"in_features": n, "out_features": m, "bias": True, **config}
    write(folder / name / "config.json", settings)
    weights = {"linear.weight": torch.randn(m, n), "linear.bias": torch.randn(m)}
    if not settings["bias"]:
        del weights["linear.bias"]
    save_file(weights, folder / name / "model.safetensors")
    return weights


@pytest.mark.parametrize("source", ["base.modules.dense", "models"])
def test_dense_layers_come_after_pooling(folder: Path, source: str) -> None:
    kinds = [f"sentence_transformers.{source}.{kind}" for kind in ("Normalize", "Dense", "Dense")]
    set_modules(folder, *kinds)
    name = "torch.nn.modules.linear.Identity"
    first = set_dense(folder, "3_Dense", 8, 6)
    second = set_dense(folder, "4_Dense", 6, 4, activation_function=name, bias=False)
    pooled = unit([tokens(folder, text).mean(0) for text in TEXTS])
    inner = np.tanh(pooled @ first["linear.weight"].T.numpy() + first["linear.bias"].numpy())
    wanted = unit(inner @ second["linear.weight"].T.numpy())
    embedder = Embedder(folder, "tiny")
    assert np.allclose(embedder.encode(TEXTS), wanted, atol=1e-5)
    assert embedder.encode([]).shape == (0, 4)


# --- prompts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompts", "query", "document"),
    [
        ({"query": "find ", "document": "night "}, "find ", "night "),
        ({"query": "find ", "document": "", "passage": "night "}, "find ", "night "),
        ({"query": "find ", "document": ""}, "find ", ""),
        ({"other": "crib "}, "", ""),
    ],
)
@pytest.mark.parametrize("pooled", [True, False])
def test_questions_and_texts_get_their_prompts(
    folder: Path, prompts: dict[str, str], query: str, document: str, pooled: bool
) -> None:
    settings = {"prompts": prompts, "default_prompt_name": None}
    write(folder / "config_sentence_transformers.json", settings)
    set_pooling(folder, {"pooling_mode": "mean", "include_prompt": pooled})
    embedder = Embedder(folder, "tiny")

    def wanted(prompt: str) -> np.ndarray:
        # Without the prompt, [CLS] goes too: it is before it.
        start = 0 if pooled or not prompt else 1 + len(prompt.split())
        return unit([tokens(folder, prompt + text)[start:].mean(0) for text in TEXTS])

    assert np.allclose(embedder.encode(TEXTS), wanted(document), atol=1e-6)
    assert np.allclose(embedder.encode_queries(TEXTS), wanted(query), atol=1e-6)
    assert np.allclose(embedder.get_query_embedding(TEXTS[0]), wanted(query)[0], atol=1e-6)
    assert np.allclose(embedder.get_text_embedding(TEXTS[0]), wanted(document)[0], atol=1e-6)
    assert embedder.has_query_prompt == (query != document)


def test_questions_are_cached_apart_from_texts(folder: Path) -> None:
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": "find "}})
    embedder = Embedder(folder, "tiny")
    cache = EmbeddingCache(embedder)
    for _ in range(2):
        assert np.allclose(cache.encode(TEXTS), embedder.encode(TEXTS), atol=1e-6)
        asked = encode_queries(cache, TEXTS)
        assert np.allclose(asked, embedder.encode_queries(TEXTS), atol=1e-6)
    assert cache.misses == 0


def test_an_embedder_without_prompts_embeds_questions_like_texts(embedder: Any) -> None:
    assert np.array_equal(encode_queries(embedder, TEXTS), embedder.encode(TEXTS))
    cache = EmbeddingCache(embedder)
    cache.encode(TEXTS)
    cache.encode_queries(TEXTS)
    assert cache.misses == 0


# --- what cannot be computed ----------------------------------------------------------------------


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(ModelError) as error:
        Embedder(folder, "tiny")
    said = str(error.value)
    assert "\n" not in said and said.endswith(".")
    assert all(word in said for word in words), said


def test_an_unknown_module_or_pooling_is_refused(folder: Path) -> None:
    set_modules(folder, "sentence_transformers.models.LSTM")
    refused(folder, "LSTM", "choose another embedder")
    set_modules(folder, "somebodys.own.Dense")
    refused(folder, "somebodys.own.Dense")
    set_modules(folder)
    for config in ({"pooling_mode": "first"}, {"pooling_mode_first_tokens": True}):
        set_pooling(folder, config)
        refused(folder, "first", "lasttoken")
    (folder / "1_Pooling" / "config.json").unlink()
    refused(folder, "1_Pooling")
    set_pooling(folder, {})
    write(folder / "sentence_bert_config.json", {"transformer_task": "text-generation"})
    refused(folder, "text-generation")


def test_an_unknown_dense_layer_is_refused(folder: Path) -> None:
    set_modules(folder, "Dense")
    refused(folder, "2_Dense")
    for odd in (
        {"use_residual": True},
        {"module_input_name": "token_embeddings"},
        {"activation_function": "somebodys.own.Tanh"},
        {"activation_function": "torch.nn.modules.activation.Nonsense"},
        {"out_features": 5},
    ):
        set_dense(folder, "2_Dense", 8, 4, **odd)
        if "out_features" in odd:
            save_file({"linear.weight": torch.ones(4, 8)}, folder / "2_Dense/model.safetensors")
        refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_cut_off_is_reported_in_one_sentence(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    refused(folder, str(folder), "course models verify")


# --- length, int8, fingerprint --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "of_tokenizer", "limit"),
    [(None, None, 32), (4, None, 4), (None, 5, 5), (64, 5, 32), (20, 5, 20)],
)
def test_the_length_limit(
    folder: Path, told: int | None, of_tokenizer: int | None, limit: int
) -> None:
    BertModel(BertConfig(**SIZES, max_position_embeddings=32)).save_pretrained(folder)
    save_tokenizer(folder, **({"model_max_length": of_tokenizer} if of_tokenizer else {}))
    if told:
        write(folder / "sentence_bert_config.json", {"max_seq_length": told})
    embedder = Embedder(folder, "tiny")
    assert embedder.max_tokens == limit
    same, other = embedder.encode(["crib " * 40 + "night", "crib " * 40 + "ferry"])
    assert np.array_equal(same, other)


def test_positions_that_start_after_the_padding_and_none_at_all(folder: Path) -> None:
    config = RobertaConfig(**SIZES, max_position_embeddings=12, pad_token_id=1)
    RobertaModel(config).save_pretrained(folder)
    embedder = Embedder(folder, "tiny")
    assert embedder.max_tokens == 10
    assert np.isfinite(embedder.encode(["crib " * 40])).all()
    sizes = {"vocab_size": len(WORDS), "d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2}
    T5EncoderModel(T5Config(**sizes, num_layers=1)).save_pretrained(folder)
    assert np.isfinite(Embedder(folder, "tiny").encode(["crib " * 600])).all()


def test_lower_case_where_the_folder_asks_for_it(folder: Path) -> None:
    write(folder / "sentence_bert_config.json", {"do_lower_case": True})
    upper, lower = Embedder(folder, "tiny").encode(["Night FERRY", "night ferry"])
    assert np.array_equal(upper, lower)


def test_int8_leaves_the_warning_filters_alone(folder: Path) -> None:
    before = warnings.filters[:]
    Embedder(folder, "tiny", int8=True)
    assert warnings.filters[:] == before


def test_all_that_decides_the_vectors_is_in_the_fingerprint(folder: Path) -> None:
    prints = [Embedder(folder, "tiny").fingerprint]
    assert Embedder(folder, "tiny").fingerprint == prints[0]

    def changed() -> None:
        prints.append(Embedder(folder, "tiny").fingerprint)

    set_pooling(folder, {"pooling_mode": "cls"})
    changed()
    set_pooling(folder, {"pooling_mode": ["cls", "max"]})
    changed()
    set_modules(folder, "Dense")
    for activation in ("Tanh", "Tanh", "ReLU"):  # other weights each time
        set_dense(folder, "2_Dense", 16, 4, activation_function=f"torch.nn.modules.{activation}")
        changed()
    set_modules(folder, "Normalize", "Dense")
    (folder / "2_Dense").rename(folder / "3_Dense")
    changed()
    for prompts in ({"query": "find "}, {"document": "find "}, {"query": "find", "document": "a"}):
        write(folder / "config_sentence_transformers.json", {"prompts": prompts})
        changed()
    set_pooling(folder, {"pooling_mode": ["cls", "max"], "include_prompt": False})
    changed()
    write(folder / "sentence_bert_config.json", {"do_lower_case": True})
    changed()
    content = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(content.replace('"crib"', '"cribs"'))
    changed()
    assert len(set(prints)) == len(prints)
