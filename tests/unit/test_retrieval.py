from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from course_utils.search.fusion import FusedRetriever
from course_utils.search.retrieval import BM25Retriever, DenseRetriever
from course_utils.search.vectors import EmbeddingCache, embed_nodes

TEXTS = [
    "the lantern battery is low",
    "invoices go out at night",
    "battery charging bays",
    "an odd one",
]


@pytest.fixture
def nodes() -> list[TextNode]:
    return [TextNode(id_=str(i), text=text) for i, text in enumerate(TEXTS)]


def test_the_nearest_comes_first_and_scores_are_cosines(nodes: Any, embedder: Any) -> None:
    found = DenseRetriever(nodes, embedder, top_k=4).retrieve("lantern battery")
    assert found[0].node.node_id == "0"
    scores = [hit.get_score() for hit in found]
    assert scores == sorted(scores, reverse=True)
    question = embedder.encode(["lantern battery"])[0]
    expected = sorted(embedder.encode(TEXTS) @ question, reverse=True)
    assert np.allclose(scores, expected, atol=1e-6)


def test_the_order_of_the_corpus_changes_nothing(nodes: Any, embedder: Any) -> None:
    ahead = DenseRetriever(nodes, embedder, top_k=2).retrieve("charging the battery")
    back = DenseRetriever(nodes[::-1], embedder, top_k=2).retrieve("charging the battery")
    assert [hit.node_id for hit in ahead] == [hit.node_id for hit in back]


def test_k_above_the_corpus_gives_the_corpus(nodes: Any, embedder: Any) -> None:
    assert len(DenseRetriever(nodes, embedder, top_k=50).retrieve("battery")) == len(nodes)


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_a_blank_question_finds_nothing(nodes: Any, embedder: Any, question: str) -> None:
    retriever = DenseRetriever(nodes, embedder)
    found = retriever.search([question, "battery"])
    assert found[0] == [] and found[1]


def test_a_question_in_another_script_is_answered(nodes: Any, embedder: Any) -> None:
    assert len(DenseRetriever(nodes, embedder, top_k=2).retrieve("電池はどこ")) == 2


def test_no_nodes_and_no_k_are_refused(nodes: Any, embedder: Any) -> None:
    with pytest.raises(ValueError, match="no nodes"):
        DenseRetriever([], embedder)
    with pytest.raises(ValueError, match="top_k"):
        DenseRetriever(nodes, embedder, top_k=0)
    for top_k in (0, -1):
        with pytest.raises(ValueError, match=f"top_k must be at least 1, not {top_k}"):
            DenseRetriever(nodes, embedder).search(["battery"], top_k)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        FusedRetriever([BM25Retriever(nodes)], depth=0)


def test_the_cache_computes_a_text_once(nodes: Any, embedder: Any) -> None:
    first = embed_nodes(nodes, embedder)
    calls = embedder.calls
    again = embed_nodes([*nodes, nodes[0]], embedder)
    assert embedder.calls == calls
    assert np.array_equal(again[:4], first) and np.array_equal(again[4], first[0])


def test_another_model_or_text_is_computed_anew(embedder: Any) -> None:
    cache = EmbeddingCache(embedder)
    cache.encode(["one", "two"])
    cache.encode(["one", "three"])
    assert cache.misses == 1
    embedder.fingerprint = "other words"
    cache.encode(["one"])
    assert cache.misses == 1


# --- saving ---------------------------------------------------------------------------------------


def test_an_interrupted_save_is_no_index(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = BM25Retriever(nodes)
    retriever.save(tmp_path)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        retriever.save(tmp_path)
    with pytest.raises(ValueError, match="holds no saved index"):
        BM25Retriever.load(tmp_path)


@pytest.mark.parametrize("kind", ["dense", "BM25"])
@pytest.mark.parametrize("damage", ["a line missing", "half a line", "no id", "index missing"])
def test_a_damaged_index_says_so(
    kind: str, damage: str, nodes: Any, embedder: Any, tmp_path: Path
) -> None:
    settings = {"embedder": embedder} if kind == "dense" else {}
    retriever: Any = DenseRetriever if kind == "dense" else BM25Retriever
    retriever(nodes, **settings).save(tmp_path)
    path = tmp_path / "nodes.jsonl"
    text = path.read_text()
    if damage == "a line missing":
        path.write_text(text[: text.rindex("\n")])
    elif damage == "half a line":
        path.write_text(text[:-20])
    elif damage == "no id":
        path.write_text("{}")
    else:
        for name in ("vectors.npy", "params.index.json"):
            (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="is damaged; index the documents again"):
        retriever.load(tmp_path, **settings)


def test_an_index_of_another_embedder_is_not_called_damaged(
    nodes: Any, embedder: Any, tmp_path: Path
) -> None:
    DenseRetriever(nodes, embedder).save(tmp_path)
    embedder.fingerprint = "other words"
    with pytest.raises(ValueError, match="made with another embedder"):
        DenseRetriever.load(tmp_path, embedder=embedder)
