"""BM25, fusion, filters, and indices on disk."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.schema import (
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from course_utils.evaluate.metrics import evaluate_retrieval
from course_utils.project.beir import evaluate_beir, read_beir
from course_utils.search.documents import Question
from course_utils.search.fusion import FusedRetriever, reciprocal_rank_fusion
from course_utils.search.retrieval import (
    BM25Retriever,
    DenseRetriever,
    NodeRetriever,
    content_words,
)

WORDS = ["lantern", "battery", "crib", "invoice", "night", "charging", "bay", "order", "depot"]
WORDS += ["frost", "alarm", "ferry"]
SPACES = ("alerts", "depots", "policies")
KINDS = ("bm25", "dense", "fused")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
corpora = st.lists(st.tuples(texts, st.sampled_from(SPACES)), min_size=1, max_size=25)
# The fixtures are read only, so hypothesis may share them between examples.
shared = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make_nodes(corpus: Sequence[tuple[str, str]]) -> list[TextNode]:
    return [
        TextNode(
            id_=f"n{i:03}",
            text=text,
            metadata={"title": f"T{i}", "space": space},
            excluded_embed_metadata_keys=["space"],
        )
        for i, (text, space) in enumerate(corpus)
    ]


def make(kind: str, nodes: Sequence[TextNode], embedder: Any, **settings: Any) -> NodeRetriever:
    if kind == "bm25":
        return BM25Retriever(nodes, **settings)
    if kind == "dense":
        return DenseRetriever(nodes, embedder, **settings)
    parts = [make(part, nodes, embedder) for part in ("bm25", "dense")]
    return FusedRetriever(parts, **settings)


def only(space: str) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key="space", value=space)])


def ids(found: Sequence[NodeWithScore]) -> list[str]:
    return [hit.node_id for hit in found]


def ranking(*names: str) -> list[NodeWithScore]:
    pairs = zip(names, range(len(names), 0, -1), strict=True)
    return [NodeWithScore(node=TextNode(id_=name, text=name), score=score) for name, score in pairs]


# --- BM25 -----------------------------------------------------------------------------------------


@shared
@given(corpora, texts)
def test_bm25_equals_the_formula(corpus: list[tuple[str, str]], question: str) -> None:
    nodes = make_nodes(corpus)
    pages = [content_words([f"{node.metadata['title']} {node.text}"])[0] for node in nodes]
    mean = sum(map(len, pages)) / len(pages)
    expected = {}
    for node, page in zip(nodes, pages, strict=True):
        score = 0.0
        for word in content_words([question])[0]:
            holders = sum(word in other for other in pages)
            rarity = math.log(1 + (len(pages) - holders + 0.5) / (holders + 0.5))
            count = page.count(word)
            score += rarity * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(page) / mean))
        if score:
            expected[node.node_id] = score
    found = BM25Retriever(nodes, top_k=50).search([question])[0]
    assert {hit.node_id: hit.get_score() for hit in found} == pytest.approx(expected, abs=1e-4)
    scores = [hit.get_score() for hit in found]
    assert scores == sorted(scores, reverse=True)


def test_bm25_knows_stems_and_titles_and_leaves_hidden_fields_and_stop_words_out() -> None:
    nodes = make_nodes([("charging of batteries", "alerts"), ("the night", "depots")])
    retriever = BM25Retriever(nodes)
    assert ids(retriever.retrieve("charged battery")) == ["n000"]
    assert ids(retriever.retrieve("T1")) == ["n001"]
    for nothing in ("alerts", "title", "the of"):
        assert retriever.retrieve(nothing) == []


def test_a_node_without_a_word_of_the_question_is_not_returned() -> None:
    nodes = make_nodes([("frost alarm", "alerts"), ("ferry", "depots"), ("order", "depots")])
    assert ids(BM25Retriever(nodes, top_k=3).retrieve("the ferry to nowhere")) == ["n001"]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_odd_questions_and_a_large_k(kind: str, embedder: Any) -> None:
    nodes = make_nodes([("frost alarm", "alerts"), ("ferry order", "depots")])
    retriever = make(kind, nodes, embedder, top_k=50)
    found = retriever.search(["", " \n", "frost", "電池はどこ", "?!", "the"])
    assert found[:2] == [[], []]
    assert ids(found[2])[0] == "n000"
    assert [len(hits) for hits in found[3:]] == ([0] * 3 if kind == "bm25" else [2] * 3)
    assert retriever.search([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_corpus_double_ids_and_k_below_one_are_refused(kind: str, embedder: Any) -> None:
    nodes = make_nodes([("frost", "alerts"), ("ferry", "alerts")])
    with pytest.raises(ValueError, match="no nodes"):
        make(kind, [], embedder)
    with pytest.raises(ValueError, match="Two nodes have the id 'n001'"):
        make(kind, [*nodes, nodes[1]], embedder)
    with pytest.raises(ValueError, match="top_k must be at least 1, not 0"):
        make(kind, nodes, embedder, top_k=0)


def test_a_corpus_without_any_word_is_no_crash() -> None:
    nodes = [TextNode(id_=str(i), text=text) for i, text in enumerate(("", "the", "?"))]
    assert BM25Retriever(nodes).search(["ferry", "the", "?"]) == [[], [], []]


# --- fusion ---------------------------------------------------------------------------------------


def test_fusion_by_hand() -> None:
    fused = reciprocal_rank_fusion([ranking("a", "b", "c"), ranking("c", "a")])
    expected = {"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62}
    assert ids(fused) == ["a", "c", "b"]
    assert {hit.node_id: hit.score for hit in fused} == pytest.approx(expected)


def test_weights_tilt_the_fusion_and_weight_0_leaves_out() -> None:
    lists = [ranking("a", "b"), ranking("b", "c")]
    assert ids(reciprocal_rank_fusion(lists, [1, 0])) == ["a", "b"]
    assert ids(reciprocal_rank_fusion(lists, [0, 1])) == ["b", "c"]
    assert ids(reciprocal_rank_fusion([ranking("a"), ranking("b")], [1, 2])) == ["b", "a"]


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, 1, 1]])
def test_weights_that_do_not_fit_are_refused(weights: list[float], embedder: Any) -> None:
    parts = [make(kind, make_nodes([("frost", "alerts")]), embedder) for kind in KINDS[:2]]
    with pytest.raises(ValueError, match="2 rankings need 2 weights"):
        FusedRetriever(parts, weights=weights)
    with pytest.raises(ValueError, match="weights"):
        FusedRetriever([])


def test_fusion_by_page_takes_each_page_once_at_its_best_chunk() -> None:
    def chunk(page: str, n: int) -> NodeWithScore:
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=page)}
        return NodeWithScore(node=TextNode(id_=f"{page}:{n}", relationships=source), score=1)

    chunks = [chunk("a", 1), chunk("a", 0), chunk("b", 0)]
    fused = reciprocal_rank_fusion([chunks, ranking("c", "b")], by_page=True)
    assert [hit.node_id for hit in fused] == ["b:0", "a:1", "c"]
    expected = [1 / 62 + 1 / 62, 1 / 61, 1 / 61]
    assert [hit.get_score() for hit in fused] == pytest.approx(expected)


monotone = st.sampled_from(
    [lambda x: 1000 * x, lambda x: x - 50, np.arctan, lambda x: np.exp(x / 5), lambda x: x**3]
)
orders = st.lists(st.permutations(WORDS), min_size=2, max_size=3)


class Rescaled(NodeRetriever):
    """Another retriever's ranking with other scores in the same order."""

    def __init__(self, inner: NodeRetriever, transform: Any) -> None:
        super().__init__()
        self.inner, self.transform = inner, transform

    def _rank(self, questions: list[str], top_k: int, filters: Any) -> list[list[NodeWithScore]]:
        return [
            [NodeWithScore(node=hit.node, score=float(self.transform(hit.score))) for hit in hits]
            for hits in self.inner.search(questions, top_k, filters)
        ]


@shared
@given(corpus=corpora, question=texts, transforms=st.tuples(monotone, monotone))
def test_fusion_does_not_depend_on_the_scale_of_the_scores(
    corpus: list[tuple[str, str]], question: str, transforms: tuple[Any, Any], embedder: Any
) -> None:
    nodes = make_nodes(corpus)
    parts = [make(kind, nodes, embedder) for kind in KINDS[:2]]
    rescaled = [Rescaled(*pair) for pair in zip(parts, transforms, strict=True)]
    plain, other = (FusedRetriever(each, top_k=9) for each in (parts, rescaled))
    assert plain.search([question]) == other.search([question])


@pytest.mark.parametrize("kind", KINDS)
@shared
@given(corpus=corpora, question=texts, seed=st.integers(0, 9))
def test_no_ranking_depends_on_the_order_of_the_corpus(
    kind: str, corpus: list[tuple[str, str]], question: str, seed: int, embedder: Any
) -> None:
    nodes = make_nodes(corpus)
    shuffled = random.Random(seed).sample(nodes, len(nodes))
    one, other = (make(kind, each, embedder, top_k=4) for each in (nodes, shuffled))
    assert ids(one.search([question])[0]) == ids(other.search([question])[0])


@given(orders)
def test_fusion_does_not_depend_on_the_order_of_two_rankings(lists: list[list[str]]) -> None:
    first, second = (ranking(*names) for names in lists[:2])
    assert ids(reciprocal_rank_fusion([first, second])) == ids(
        reciprocal_rank_fusion([second, first])
    )


def test_distances_would_reverse_the_ranking_and_ours_are_similarities(embedder: Any) -> None:
    nodes = make_nodes([("frost alarm", "a"), ("frost ferry bay", "a"), ("order night", "a")])
    retriever = DenseRetriever(nodes, embedder, top_k=3)
    found = retriever.search(["frost alarm"])[0]
    assert ids(found)[0] == "n000"
    by_score = sorted(found, key=lambda hit: -hit.get_score())
    assert ids(by_score) == ids(found)
    # The trap: squared distances taken for scores put the farthest first.
    trap = faiss.IndexFlatL2(retriever.vectors.shape[1])
    trap.add(retriever.vectors)
    distances, places = trap.search(embedder.encode(["frost alarm"]), 3)
    as_scores = [retriever.nodes[i].node_id for i in places[0][np.argsort(-distances[0])]]
    assert as_scores == ids(found)[::-1]


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@shared
@given(corpus=corpora, question=texts, space=st.sampled_from(SPACES), k=st.integers(1, 8))
def test_filters_never_leak_and_never_starve(
    kind: str, corpus: list[tuple[str, str]], question: str, space: str, k: int, embedder: Any
) -> None:
    nodes = make_nodes(corpus)
    retriever = make(kind, nodes, embedder)
    everything = retriever.search([question], len(nodes))[0]
    inside = [hit for hit in everything if hit.node.metadata["space"] == space]
    found = retriever.search([question], k, only(space))[0]
    assert all(hit.node.metadata["space"] == space for hit in found)
    assert len(found) == min(k, len(inside))
    if kind != "fused":  # ranks, and so fused scores, are counted among those let through
        scores = [hit.get_score() for hit in inside[:k]]
        assert [hit.get_score() for hit in found] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_retrieve_uses_the_retrievers_own_filters(kind: str, embedder: Any) -> None:
    nodes = make_nodes([("frost", space) for space in SPACES] * 3)
    retriever = make(kind, nodes, embedder, top_k=3, filters=only("depots"))
    assert ids(retriever.retrieve("frost")) == ["n001", "n004", "n007"]
    assert retriever.search(["frost"], filters=only("nowhere")) == [[]]


# --- on disk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_saved_index_gives_the_same_ranking(kind: str, embedder: Any, tmp_path: Path) -> None:
    draw = random.Random(0)
    corpus = [(" ".join(draw.choices(WORDS, k=6)) + " «ü»", "alerts") for _ in range(40)]
    questions = ["charged batteries at night", "Ferries, invoiced", "frost", "電池"]
    made: Any = make(kind, make_nodes(corpus), embedder, top_k=7)
    made.save(tmp_path / "index")
    parts = {"embedder": embedder} if kind == "dense" else {}
    calls = embedder.calls
    loaded = type(made).load(tmp_path / "index", top_k=7, **parts)
    assert embedder.calls == calls  # nothing is embedded again
    assert loaded.search(questions) == made.search(questions)
    assert loaded.search(questions[:1])[0]
    made.save(tmp_path / "index")  # over an older one
    assert type(made).load(tmp_path / "index", **parts).nodes == made.nodes


def test_a_folder_without_an_index_and_another_embedder_are_refused(
    embedder: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="holds no saved index"):
        BM25Retriever.load(tmp_path)
    DenseRetriever(make_nodes([("frost", "alerts")]), embedder).save(tmp_path)
    embedder.fingerprint = "other words"
    with pytest.raises(ValueError, match="another embedder"):
        DenseRetriever.load(tmp_path, embedder=embedder)


# --- a BEIR folder --------------------------------------------------------------------------------


def test_a_beir_folder_is_searched_in_one_call(embedder: Any, tmp_path: Path) -> None:
    def write(name: str, records: list[dict[str, str]]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records))

    corpus = [("frost alarm", "d1"), ("ferry at night", "d2"), ("battery", "d3"), ("ferry", "q2")]
    write("corpus.jsonl", [{"_id": i, "title": "", "text": text} for text, i in corpus])
    write("queries.jsonl", [{"_id": "q1", "text": "frost"}, {"_id": "q2", "text": "ferry"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1")
    scores = evaluate_beir(tmp_path, embedder)
    assert list(scores) == ["BM25", "dense", "fused"]
    for name in scores:  # q2 is a document too, which is left out of its own ranking
        assert scores[name].tolist() == [1, 1]


def test_a_beir_document_is_embedded_as_published_numbers_are(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text("")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("")
    records = [{"_id": "a", "title": "Frost", "text": "on roads"}, {"_id": "b", "text": "no title"}]
    lines = [json.dumps(record) + "\n" for record in records]
    (tmp_path / "corpus.jsonl").write_text("".join(lines))
    documents, _ = read_beir(tmp_path)
    embedded = [document.get_content(MetadataMode.EMBED) for document in documents]
    assert embedded == ["Frost on roads", "no title"]


def test_evaluate_scores_pages_by_their_best_chunk(embedder: Any) -> None:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="page")}
    nodes = [
        TextNode(id_="page:0", text="order", relationships=source),
        TextNode(id_="page:1", text="frost alarm", relationships=source),
        TextNode(id_="other", text="alarm alarm ferry"),
    ]
    questions = [Question("a", "frost", grades={"page": 2}), Question("b", "bay", grades={"x": 2})]
    scores = evaluate_retrieval(BM25Retriever(nodes), questions, ["recip_rank", "recall_1"])
    assert {name: values.tolist() for name, values in scores.items()} == {
        "recip_rank": [1, 0],
        "recall_1": [1, 0],
    }


def test_content_words_are_lower_case_stems_without_stop_words() -> None:
    assert content_words(["The Ferries: KEY-457 for a charging bay", "", "the"]) == [
        ["ferri", "key", "457", "charg", "bay"],
        [],
        [],
    ]
