from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from course_utils.evaluate.correctness import (
    cause,
    cites_gold,
    contains_answer,
    is_correct,
    normalise,
    token_f1,
)
from course_utils.evaluate.intervals import bootstrap, estimate, paired_difference
from course_utils.evaluate.metrics import (
    evaluate_retrieval,
    gold_coverage,
    gold_iou,
    page_run,
    retrieval_scores,
)
from course_utils.generate.citing import Answer
from course_utils.search.documents import Question, Span
from course_utils.search.retrieval import BM25Retriever
from course_utils.tasks.handbook import load_questions


def hit(page: str, start: int, end: int, score: float = 1.0) -> NodeWithScore:
    node = TextNode(text="x", start_char_idx=start, end_char_idx=end)
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=page)
    return NodeWithScore(node=node, score=score)


GRADES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2), min_size=1)
RUNS = st.dictionaries(st.sampled_from("abcdefghij"), st.floats(-5, 5, width=16), max_size=10)


@given(grades=GRADES, run=RUNS)
@settings(deadline=None)
def test_metrics_equal_their_formulas(grades: dict[str, int], run: dict[str, float]) -> None:
    scores = retrieval_scores({"q": run}, [Question(id="q", text="?", grades=grades)])
    # trec_eval breaks ties by document id, the later one first.
    ranked = sorted(run, key=lambda page: (run[page], page), reverse=True)
    least = 2 if max(grades.values()) == 2 else 1
    right = {page for page, grade in grades.items() if grade >= least}
    recall = len(right & set(ranked[:5])) / len(right) if right else 0.0
    first = next((1 / rank for rank, page in enumerate(ranked, 1) if page in right), 0.0)
    gains = [grades.get(page, 0) for page in ranked[:10]]
    ideal = sorted(grades.values(), reverse=True)[:10]
    dcg, best = (
        sum(gain / math.log2(rank + 1) for rank, gain in enumerate(row, 1))
        for row in (gains, ideal)
    )
    assert scores["recall_5"][0] == pytest.approx(recall)
    assert scores["recip_rank"][0] == pytest.approx(first)
    assert scores["ndcg_cut_10"][0] == pytest.approx(dcg / best if best else 0.0)


def test_a_question_without_a_run_scores_nothing_and_keeps_its_place() -> None:
    questions = [Question(id=x, text="?", grades={x: 2}) for x in "ab"]
    scores = retrieval_scores({"b": {"b": 1.0}}, questions)
    assert scores["recall_5"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("grades", "least_grade", "recall"),
    [
        ({"a": 1, "b": 1}, None, 0.5),  # SciFact, FiQA: 1 is the highest grade there is
        ({"a": 1, "b": 0}, None, 1.0),
        ({"a": 0}, None, 0.0),
        ({"a": 1, "b": 2}, None, 0.0),  # the handbook: 1 is only related
        ({"a": 3, "b": 1}, None, 1.0),
        ({"a": 1, "b": 3}, 1, 0.5),  # TREC as BEIR counts it
    ],
)
def test_which_grade_counts_as_relevant_comes_from_the_data_or_is_said(
    grades: dict[str, int], least_grade: int | None, recall: float
) -> None:
    questions = [Question("q", "ferry", grades=grades), Question("r", "ferry")]
    pages = [Document(id_="a", text="the ferry"), Document(id_="b", text="the bay")]
    found = evaluate_retrieval(
        BM25Retriever(pages), questions, ["recall_10"], least_grade=least_grade
    )
    assert found["recall_10"].tolist() == [recall]
    scores = retrieval_scores({"q": {"a": 1.0}}, questions, ["recall_10"], least_grade)
    assert scores["recall_10"].tolist() == [recall]


def test_more_relevant_pages_than_k() -> None:
    question = Question(id="q", text="?", grades=dict.fromkeys("abcdefgh", 2))
    run = {page: float(i) for i, page in enumerate("abcdefgh")}
    scores = retrieval_scores({"q": run}, [question], ("recall_5", "ndcg_cut_5"))
    assert scores["recall_5"][0] == pytest.approx(5 / 8)
    assert scores["ndcg_cut_5"][0] == pytest.approx(1.0)


def test_a_page_scores_as_its_best_node() -> None:
    found = [hit("a", 0, 9, 0.2), hit("b", 0, 9, 0.5), hit("a", 9, 20, 0.9)]
    assert page_run(found) == {"a": 0.9, "b": 0.5}


@pytest.mark.parametrize(
    ("found", "coverage"),
    [
        ([], 0.0),
        ([hit("p", 0, 100)], 1.0),
        ([hit("q", 0, 100)], 0.0),
        ([hit("p", 0, 15)], 0.5),
        ([hit("p", 0, 15), hit("p", 15, 30)], 1.0),
        ([hit("p", 12, 14), hit("p", 13, 15)], 0.3),
        ([hit("p", 30, 40)], 0.0),
    ],
)
def test_gold_coverage_counts_characters_once(found: list[NodeWithScore], coverage: float) -> None:
    assert gold_coverage(found, [Span("p", 10, 20)]) == pytest.approx(coverage)


@pytest.mark.parametrize(
    ("found", "iou"),
    [
        ([], 0.0),
        ([hit("p", 10, 20)], 1.0),
        ([hit("p", 0, 100)], 0.1),
        ([hit("p", 10, 20), hit("q", 0, 10)], 0.5),
        ([hit("p", 15, 25)], 5 / 15),
        ([hit("p", 10, 20), hit("p", 10, 20)], 0.5),  # the same text twice is read twice
    ],
)
def test_iou_charges_for_everything_retrieved(found: list[NodeWithScore], iou: float) -> None:
    assert gold_iou(found, [Span("p", 10, 20)]) == pytest.approx(iou)


def test_a_whole_page_covers_all_of_itself() -> None:
    page = NodeWithScore(node=Document(id_="p", text="The port is 7204, as ever."))
    other = NodeWithScore(node=Document(id_="q", text="The port is 7204."))
    question = Question("x", "?", answer="7204", gold=(Span("p", 12, 16),))
    assert gold_coverage([page], question.gold) == 1 and gold_coverage([other], question.gold) == 0
    assert gold_coverage([page], [Span("p", 20, 30)]) == 0.6
    assert gold_iou([page], question.gold) == pytest.approx(4 / 26)
    assert contains_answer([page], question) and not contains_answer([other], question)
    assert cause(Answer("8"), question, [other]) == "not retrieved"
    assert cause(Answer("8"), question, [other, page], 1) == "not ranked in"
    assert cause(Answer("8"), question, [page]) == "read wrongly"


def test_a_chunk_without_offsets_is_not_taken_for_a_page() -> None:
    chunk = hit("p", 0, 9)
    chunk.node.start_char_idx = None  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no offsets into its page: chunk with SpanSplitter"):
        gold_coverage([chunk], [Span("p", 0, 5)])


@pytest.mark.parametrize(
    ("page", "start", "text", "bears"),
    [
        ("p", 0, "the port is 7,204.", True),
        ("p", 0, "the port is 72041.", False),
        ("q", 0, "the port is 7204.", False),
        ("p", 40, "the port is 7204.", False),
        ("o", 0, "the port is 7204.", False),
    ],
)
def test_the_answer_must_stand_where_the_question_is_answered(
    page: str, start: int, text: str, bears: bool
) -> None:
    question = Question(id="q", text="?", answer="7204", gold=(Span("o", 0, 9), Span("p", 5, 30)))
    found = hit(page, start, start + 20)
    found.node.text = text  # type: ignore[attr-defined]
    assert contains_answer([hit("p", 90, 99), found], question) is bears


@pytest.mark.parametrize(
    ("said", "right", "correct"),
    [
        ("It is 12,000 messages.", "12000", True),
        ("at 12000", "12,000", True),
        ("The limit is 120.", "12", False),
        ("BRN-210, a full disk", "brn-210", True),
        ("1.5 s", "5 s", False),
        ("", "5", False),
        ("four", "4", True),
        ("Ask Marit Osei.", "marit osei", True),
        ("Marit, then Osei", "osei marit", False),
    ],
)
def test_an_answer_is_right_when_it_holds_the_whole_words(
    said: str, right: str, correct: bool
) -> None:
    question = Question(id="q", text="?", answer=right, accepted=("four",))
    assert is_correct(Answer(said), question) is correct


def test_an_empty_variant_accepts_nothing() -> None:
    assert not is_correct(Answer("anything"), Question(id="q", text="?", answer="", accepted=("",)))


def test_normalise_keeps_identifiers_and_decimals() -> None:
    assert normalise("The 1,200,000 of  B-1: 0.5!") == ["1200000", "of", "b", "1", "0.5"]


def test_citation_and_f1() -> None:
    question = Question(id="q", text="?", gold=(Span("p", 0, 5),))
    assert cites_gold(Answer("x", "p"), question)
    assert not cites_gold(Answer("x", None), question)
    assert token_f1("the red crib", "red lantern") == pytest.approx(0.5)
    assert token_f1("", "red") == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
@settings(deadline=None, max_examples=30)
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    made = estimate(values, draws=500)
    assert made.low - 1e-9 <= made.value <= made.high + 1e-9
    assert made.n == len(values)


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).random(400) < 0.3
    made = estimate(values)
    theory = 1.96 * math.sqrt(made.value * (1 - made.value) / 400)
    assert (made.high - made.low) / 2 == pytest.approx(theory, rel=0.1)


def test_no_right_answer_is_not_certainty() -> None:
    none = estimate([0] * 136)
    assert none.low == 0 and none.high == pytest.approx(0.0275, abs=1e-3)  # Wilson, by hand
    assert estimate([1] * 136).low == pytest.approx(1 - none.high)


def test_a_share_lies_in_its_interval_for_every_n() -> None:
    for made in (estimate([value] * n) for value in (0, 1) for n in range(1, 400)):
        assert 0 <= made.low <= made.value <= made.high <= 1  # in floating point, too


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(2)
    before = rng.random(200)
    after = before + 0.02 + rng.normal(0, 0.01, 200)
    paired = paired_difference(after, before)
    assert paired.low > 0 and paired.high - paired.low < 0.01
    with pytest.raises(ValueError, match="same questions"):
        paired_difference([1.0], [1.0, 2.0])


def test_nothing_to_average_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        estimate([])


@pytest.mark.parametrize(("n", "draws"), [(2, 100), (7, 999), (333, 3005), (1501, 2000)])
def test_drawing_in_blocks_gives_the_same_interval(n: int, draws: int) -> None:
    values = np.random.default_rng(n).random(n)
    picks = np.random.default_rng(4).integers(0, n, (draws, n))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    made = bootstrap(values, draws, seed=4)
    assert (made.low, made.high) == (low, high)  # to the last bit


def test_the_bootstrap_of_many_questions_needs_little_memory() -> None:
    tracemalloc.start()
    bootstrap(np.linspace(0, 1, 7000), draws=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_the_automatic_score_agrees_with_labels_of_readers_of_the_page() -> None:
    """On 30 answers of the reader; one that adds a wrong part to the right one may differ."""
    path = Path(__file__).with_name("labelled_answers.yaml")
    labelled = yaml.safe_load(path.read_text(encoding="utf8"))
    questions = {q.id: q for q in load_questions("dev", "everyday")}
    scores = [is_correct(Answer(text), questions[id]) for id, text, _ in labelled]
    labels = [right for *_, right in labelled]
    other = [row for row, score in zip(labelled, scores, strict=True) if score != row[2]]
    assert len(labels) == 30 and labels.count(False) >= 7
    assert len(other) <= 1, other


def test_another_page_that_says_the_same_answers_too() -> None:
    question = Question(
        "q", "How long?", answer="30 days", gold=(Span("a", 0, 9),), grades={"a": 2, "b": 2, "c": 1}
    )
    hits = {
        page: NodeWithScore(node=TextNode(id_=page, text="Kept for 30 days.")) for page in "abc"
    }
    assert [cites_gold(Answer("30 days", page), question) for page in "abc"] == [True, True, False]
    assert [contains_answer([hits[page]], question) for page in "bc"] == [True, False]
