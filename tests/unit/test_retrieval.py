from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from course_utils.retrieval import DenseRetriever, EmbeddingCache, embed_nodes

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
