"""Folders as old and current releases of sentence-transformers write them, around a tiny BERT.

Most are marked slow: importing sentence-transformers takes seconds, and each folder some more.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
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

from course_utils.lab.quantized import quantize
from course_utils.models.embedding import (
    Embedder,
    LibraryEmbedder,
    encode_queries,
    load_embedder,
)
from course_utils.models.registry import ModelError
from course_utils.search.vectors import EmbeddingCache

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
NEW = {
    "Transformer": f"{MODULES}.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": f"{MODULES}.dense.Dense",
    "Normalize": f"{MODULES}.normalize.Normalize",
}
OLD_TYPES = ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling")
NEW_TYPES = (NEW["Transformer"], NEW["Pooling"])
MEAN = {"pooling_mode_mean_tokens": True}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def set_pooling(folder: Path, config: dict[str, Any], name: str = "1_Pooling") -> None:
    size = "embedding_dimension" if "pooling_mode" in config else "word_embedding_dimension"
    write(folder / name / "config.json", {size: 8, **config})


def set_modules(folder: Path, *kinds: str, first: tuple[str, str] = OLD_TYPES) -> None:
    listed = []
    for place, kind in enumerate((*first, *kinds)):
        path = f"{place}_{kind.rpartition('.')[2]}" if place else ""
        listed.append({"name": str(place), "type": NEW.get(kind, kind), "path": path})
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
    set_modules(tmp_path)
    set_pooling(tmp_path, MEAN)
    return tmp_path


def load(folder: Path) -> Embedder:
    return load_embedder(str(folder))


def by_library(folder: Path) -> LibraryEmbedder:
    embedder = load(folder)
    assert isinstance(embedder, LibraryEmbedder)
    return embedder


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


def by_hand(folder: Path, modes: list[str]) -> np.ndarray:
    rows = [tokens(folder, text) for text in TEXTS]
    return unit([np.concatenate([BY_HAND[mode](one) for mode in modes]) for one in rows])


@pytest.mark.slow
@pytest.mark.parametrize(("config", "modes"), CONFIGS)
def test_every_pooling(folder: Path, config: dict[str, Any], modes: list[str]) -> None:
    set_modules(folder, "Normalize", first=OLD_TYPES if "pooling_mode" not in config else NEW_TYPES)
    set_pooling(folder, config)
    assert np.allclose(load(folder).encode(TEXTS), by_hand(folder, modes), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", BY_HAND)
def test_padding_on_the_left_is_not_pooled(folder: Path, mode: str) -> None:
    save_tokenizer(folder, padding_side="left")
    set_pooling(folder, {"pooling_mode": mode})
    embedder, wanted = load(folder), by_hand(folder, [mode])
    # BERT counts positions from the batch's first column, so texts of one length share a batch.
    for place in range(len(TEXTS)):
        rows = embedder.encode([TEXTS[place], TEXTS[place]])
        assert np.allclose(rows, wanted[place], atol=1e-6)


def test_means_are_taken_without_the_library(folder: Path) -> None:
    """They are what it gives, but importing it costs memory and time."""
    for config in (MEAN, {OLD["cls"]: False, **MEAN}, {"pooling_mode": "mean"}):
        for first in (OLD_TYPES, NEW_TYPES):
            set_pooling(folder, config)
            set_modules(folder, "Normalize", first=first)
            embedder = load(folder)
            assert not isinstance(embedder, LibraryEmbedder)
    rows = embedder.encode(TEXTS)
    assert np.allclose(rows, by_hand(folder, ["mean"]), atol=1e-6)
    assert np.allclose(rows, LibraryEmbedder(folder, "tiny").encode(TEXTS), atol=1e-6)
    assert embedder.class_name() == "Embedder"


def test_the_pooling_is_read_where_modules_json_says(folder: Path) -> None:
    set_pooling(folder, {"pooling_mode": "cls"}, "pooled")
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["path"] = "pooled"
    write(folder / "modules.json", listed)
    assert np.allclose(by_library(folder).encode(TEXTS), by_hand(folder, ["cls"]), atol=1e-6)


def test_a_bare_transformer(folder: Path) -> None:
    (folder / "modules.json").unlink()
    refused(folder, "modules.json")  # and has a pooling that would be ignored
    (folder / "1_Pooling" / "config.json").unlink()
    (folder / "1_Pooling").rmdir()
    assert np.allclose(by_library(folder).encode(TEXTS), by_hand(folder, ["mean"]), atol=1e-6)


@pytest.mark.slow
def test_a_transformer_in_a_folder_of_its_own(folder: Path) -> None:
    wanted = by_hand(folder, ["mean"])
    (folder / "0_BERT").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        if path.name != "modules.json":
            path.rename(folder / "0_BERT" / path.name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["path"] = "0_BERT"
    write(folder / "modules.json", listed)
    assert np.allclose(by_library(folder).encode(TEXTS), wanted, atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "cls"])  # without and with the library
def test_batches_give_each_text_its_row(folder: Path, mode: str) -> None:
    set_pooling(folder, {"pooling_mode": mode})
    embedder = load(folder)
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


@pytest.mark.slow
@pytest.mark.parametrize("source", ["base.modules.dense", "models"])
def test_dense_layers_come_after_pooling(folder: Path, source: str) -> None:
    dense = f"sentence_transformers.{source}.Dense"
    set_modules(folder, "sentence_transformers.models.Normalize", dense, dense)
    name = "torch.nn.modules.linear.Identity"
    first = set_dense(folder, "3_Dense", 8, 6)
    second = set_dense(folder, "4_Dense", 6, 4, activation_function=name, bias=False)
    pooled = unit([tokens(folder, text).mean(0) for text in TEXTS])
    inner = np.tanh(pooled @ first["linear.weight"].T.numpy() + first["linear.bias"].numpy())
    wanted = unit(inner @ second["linear.weight"].T.numpy())
    embedder = by_library(folder)
    assert np.allclose(embedder.encode(TEXTS), wanted, atol=1e-5)
    assert embedder.encode([]).shape == (0, 4)


# --- prompts --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "query", "document"),
    [
        ({"query": "find ", "document": "night "}, "find ", "night "),
        # For the library "document", which is empty unless it is set, goes before "passage".
        ({"query": "find ", "document": "", "passage": "night "}, "find ", ""),
        ({"query": "find ", "passage": "night "}, "find ", ""),
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
    embedder = by_library(folder)

    def wanted(prompt: str) -> np.ndarray:
        # Without the prompt, [CLS] goes too: it is before it.
        start = 0 if pooled or not prompt else 1 + len(prompt.split())
        return unit([tokens(folder, prompt + text)[start:].mean(0) for text in TEXTS])

    assert np.allclose(embedder.encode(TEXTS), wanted(document), atol=1e-6)
    assert np.allclose(embedder.encode_queries(TEXTS), wanted(query), atol=1e-6)
    assert np.allclose(embedder.get_query_embedding(TEXTS[0]), wanted(query)[0], atol=1e-6)
    assert np.allclose(embedder.get_text_embedding(TEXTS[0]), wanted(document)[0], atol=1e-6)


def test_questions_are_cached_apart_from_texts(folder: Path) -> None:
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": "find "}})
    embedder = by_library(folder)
    assert not np.allclose(embedder.encode(TEXTS), embedder.encode_queries(TEXTS), atol=1e-3)
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
        load(folder)
    message = str(error.value)
    assert "\n" not in message and message.endswith(".")
    assert all(word in message for word in (str(folder), *words)), message


def test_an_unknown_module_or_pooling_is_refused(folder: Path) -> None:
    set_modules(folder, "sentence_transformers.models.Nonsense")
    refused(folder, "Nonsense")
    set_modules(folder, first=("somebodys.own.Transformer", OLD_TYPES[1]))
    refused(folder, "somebodys.own.Transformer")
    set_modules(folder)
    for config in ({"pooling_mode": "first"}, {"pooling_mode_first_tokens": True}):
        for means in ({}, MEAN):
            set_pooling(folder, {**means, **config})
            refused(folder, "first")
    (folder / "1_Pooling" / "config.json").unlink()
    refused(folder, "Pooling")


@pytest.mark.slow
def test_modules_that_do_not_fit_together_are_refused(folder: Path) -> None:
    set_modules(folder)
    listed = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", listed[:1])
    refused(folder, "sentence_embedding")
    write(folder / "modules.json", listed)
    write(folder / "sentence_bert_config.json", {"transformer_task": "text-generation"})
    refused(folder, "token_embeddings")


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    """The library would take means there."""
    write(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    refused(folder, "CrossEncoder")


def test_a_dense_layer_that_cannot_be_loaded_is_refused(folder: Path) -> None:
    set_modules(folder, "Dense")
    refused(folder, "Dense")
    for odd in (
        {"activation_function": "torch.nn.modules.activation.Nonsense"},
        {"out_features": 5},
        {"in_features": 9},
    ):
        set_dense(folder, "2_Dense", 8, 4, **odd)
        refused(folder)


def test_without_the_library_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pooling(folder, {"pooling_mode": "cls"})
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    refused(folder, "pip install sentence_transformers")
    set_pooling(folder, MEAN)
    assert load(folder).dimension == 8


@pytest.mark.parametrize("mode", ["mean", "cls"])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_cut_off_is_reported_in_one_sentence(folder: Path, name: str, mode: str) -> None:
    set_pooling(folder, {"pooling_mode": mode})
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    refused(folder, "course models verify")


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json"])
def test_a_setting_cut_off_is_reported_in_one_sentence(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    refused(folder, "course models verify")


# --- length, int8, fingerprint --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "of_tokenizer", "limit"),
    [(None, None, 32), (4, None, 4), (None, 5, 5), (64, 5, 32), (20, 5, 20)],
)
@pytest.mark.parametrize("mode", ["mean", pytest.param("cls", marks=pytest.mark.slow)])
def test_the_length_limit(
    folder: Path, told: int | None, of_tokenizer: int | None, limit: int, mode: str
) -> None:
    BertModel(BertConfig(**SIZES, max_position_embeddings=32)).save_pretrained(folder)
    save_tokenizer(folder, **({"model_max_length": of_tokenizer} if of_tokenizer else {}))
    set_pooling(folder, {"pooling_mode": mode})
    if told:
        write(folder / "sentence_bert_config.json", {"max_seq_length": told})
    embedder = load(folder)
    assert embedder.max_tokens == limit
    same, other = embedder.encode(["crib " * 40 + "night", "crib " * 40 + "ferry"])
    assert np.array_equal(same, other)


@pytest.mark.slow
def test_positions_that_start_after_the_padding_and_none_at_all(folder: Path) -> None:
    config = RobertaConfig(**SIZES, max_position_embeddings=12, pad_token_id=1)
    RobertaModel(config).save_pretrained(folder)
    embedder = by_library(folder)
    assert embedder.max_tokens == 10
    assert np.isfinite(embedder.encode(["crib " * 40])).all()
    sizes = {"vocab_size": len(WORDS), "d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2}
    T5EncoderModel(T5Config(**sizes, num_layers=1)).save_pretrained(folder)
    assert np.isfinite(by_library(folder).encode(["crib " * 600])).all()


def test_lower_case_where_the_folder_asks_for_it(folder: Path) -> None:
    write(folder / "sentence_bert_config.json", {"do_lower_case": True})
    upper, lower = by_library(folder).encode(["Night FERRY", "night ferry"])
    assert np.array_equal(upper, lower)


@pytest.mark.slow
def test_vectors_are_cut_where_the_folder_asks_for_it(folder: Path) -> None:
    write(folder / "config_sentence_transformers.json", {"truncate_dim": 3})
    wanted = unit(by_hand(folder, ["mean"])[:, :3])
    assert np.allclose(by_library(folder).encode(TEXTS), wanted, atol=1e-6)


@pytest.mark.slow
def test_weights_saved_in_16_bits_are_computed_with_in_32(folder: Path) -> None:
    path = folder / "model.safetensors"
    halves = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})
    write(
        folder / "config.json",
        {**json.loads((folder / "config.json").read_text()), "dtype": "bfloat16"},
    )
    set_pooling(folder, {"pooling_mode": "cls"})
    assert {weight.dtype for weight in by_library(folder).transformer.parameters()} == {
        torch.float32
    }


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_int8_has_another_fingerprint_and_leaves_the_warning_filters_alone(
    folder: Path, mode: str
) -> None:
    set_pooling(folder, {"pooling_mode": mode})
    before = warnings.filters[:]
    exact, int8 = load(folder), quantize(load(folder))
    assert warnings.filters[:] == before
    assert int8.fingerprint == f"{exact.fingerprint} int8"
    assert (exact.encode(TEXTS) * int8.encode(TEXTS)).sum(axis=1).min() > 0.9


@pytest.mark.slow
def test_all_that_decides_the_vectors_is_in_the_fingerprint(folder: Path) -> None:
    prints = [load(folder).fingerprint]
    assert load(folder).fingerprint == prints[0]

    def changed() -> None:
        prints.append(load(folder).fingerprint)

    torch.manual_seed(1)
    BertModel(BertConfig(**SIZES)).save_pretrained(folder)
    changed()
    write(folder / "sentence_bert_config.json", {"max_seq_length": 7})
    changed()
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
