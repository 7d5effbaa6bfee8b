"""What notebook 05 adds to evaluation: blame, citations, refusals, kappa, saved runs, the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from course_utils.evaluate.correctness import (
    CAUSES,
    cause,
    citations,
    exact_match,
    is_correct,
    refusals,
)
from course_utils.evaluate.intervals import cohen_kappa
from course_utils.evaluate.metrics import retrieval_scores
from course_utils.generate.citing import Answer
from course_utils.lab.explorers import failure_browser
from course_utils.project.comparing import compare_runs, read_run, write_run
from course_utils.search.documents import CorpusError, Question, Span

GOLD = Question(id="q", text="?", answer="TID-584", accepted=("584",), gold=(Span("p", 0, 20),))
OPEN = Question(id="u", text="?")


def hit(page: str, text: str) -> NodeWithScore:
    node = TextNode(text=text, start_char_idx=0, end_char_idx=len(text))
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=page)
    return NodeWithScore(node=node, score=1.0)


RIGHT, WRONG = hit("p", "ticket TID-584 says it"), hit("o", "ticket TID-584 too, elsewhere")


@pytest.mark.parametrize(
    ("said", "exact"), [("tid 584", True), ("It is TID-584", False), ("", False), ("584.", True)]
)
def test_exact_match_allows_nothing_else(said: str, exact: bool) -> None:
    assert exact_match(Answer(said), GOLD) is exact


def test_an_empty_answer_never_matches_an_empty_variant() -> None:
    assert not exact_match(Answer(" ."), Question(id="q", text="?"))


def test_citations_count_what_cites_and_what_should() -> None:
    answers = [Answer("x", "p"), Answer("x", "o"), Answer("x"), Answer("x", "p")]
    made = citations(answers, [GOLD, GOLD, GOLD, OPEN])
    assert made["precision"].tolist() == [1, 0, 0]
    assert made["recall"].tolist() == [1, 0, 0]


def test_refusals_count_what_refuses_and_what_should() -> None:
    made = refusals([Answer(""), Answer(" "), Answer("x"), Answer("x")], [GOLD, OPEN, OPEN, GOLD])
    assert made["precision"].tolist() == [0, 1]
    assert made["recall"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("said", "retrieved", "blamed"),
    [
        ("TID-584", [], None),
        ("TID584", [], "format"),
        ("x", [WRONG], "not retrieved"),
        ("", [WRONG], "not retrieved"),
        ("x", [WRONG, RIGHT], "not ranked in"),
        ("", [WRONG, RIGHT], "not ranked in"),
        ("x", [RIGHT, WRONG], "read wrongly"),
        ("", [RIGHT, WRONG], "refused wrongly"),
    ],
)
def test_the_first_step_that_failed_is_blamed(
    said: str, retrieved: list[NodeWithScore], blamed: str | None
) -> None:
    assert cause(Answer(said), GOLD, retrieved, shown=1) == blamed


def test_only_a_refusal_is_right_where_nothing_answers() -> None:
    assert cause(Answer(""), OPEN, [RIGHT], shown=1) is None
    assert cause(Answer("x"), OPEN, [RIGHT], shown=1) == "read wrongly"


def test_a_stricter_rule_makes_it_a_matter_of_form() -> None:
    assert cause(Answer("It is TID-584"), GOLD, [RIGHT], 1, right=exact_match) == "format"


@given(
    said=st.sampled_from(["", "x", "TID-584", "TID584", "say 584"]),
    question=st.sampled_from([GOLD, OPEN]),
    retrieved=st.lists(st.sampled_from([RIGHT, WRONG]), max_size=4),
    shown=st.integers(0, 4),
    strict=st.booleans(),
)
@settings(deadline=None)
def test_every_wrong_answer_has_one_cause_and_a_right_one_none(
    said: str, question: Question, retrieved: list[NodeWithScore], shown: int, strict: bool
) -> None:
    right = exact_match if strict else is_correct
    made = cause(Answer(said), question, retrieved, shown, right)
    good = right(Answer(said), question) if question.answerable else not said
    assert (made is None) == good
    assert made is None or made in CAUSES


def test_kappa_equals_a_hand_count() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: (.7 - .5) / (1 - .5)
    one = ["y"] * 25 + ["n"] * 25
    other = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(one, other) == pytest.approx(0.4)


LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30)


@given(LABELS)
def test_kappa_is_bounded_symmetric_and_1_for_the_same(pairs: list[tuple[int, int]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    made = cohen_kappa(one, other)
    assert -1 <= made <= 1
    assert made == pytest.approx(cohen_kappa(other, one))
    assert cohen_kappa(one, one) == (1 if len(set(one)) > 1 else 0)


def test_kappa_needs_the_same_items() -> None:
    with pytest.raises(ValueError, match="same items"):
        cohen_kappa([1], [1, 2])


IDS = st.text(min_size=1, max_size=6)
SCORES = st.floats(allow_nan=False, allow_infinity=False)


@given(runs=st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=4), max_size=4))
@settings(deadline=None)
def test_a_run_comes_back_as_it_was_saved(
    runs: dict[str, dict[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "run.txt"
    write_run(path, runs, "a name")
    assert read_run(path) == runs
    lines = [line for line in path.read_text(encoding="utf8").split("\n") if line]
    assert all(len(line.split()) == 6 for line in lines)


def test_ranks_are_those_of_trec_eval(tmp_path: Path) -> None:
    write_run(tmp_path / "r", {"q 1": {"a": 0.5, "b c": 0.5, "d": 0.9}}, "mine")
    lines = (tmp_path / "r").read_text().splitlines()
    assert lines[0] == "q%201 Q0 d 1 0.9 mine"
    assert lines[1] == "q%201 Q0 b%20c 2 0.5 mine"


def test_a_broken_run_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("q Q0 d 1 0.5 x\nq Q0 d 0.5\n")
    with pytest.raises(CorpusError, match="line 2"):
        read_run(tmp_path / "r")
    with pytest.raises(CorpusError, match="no run"):
        read_run(tmp_path / "none")
    with pytest.raises(ValueError, match="empty id"):
        write_run(tmp_path / "r", {"q": {"": 1.0}}, "x")


@pytest.mark.parametrize(
    ("gain", "n", "decision"),
    [(0.3, 100, "better"), (-0.3, 100, "worse"), (0.3, 3, "undecided"), (0.01, 4000, "undecided")],
)
def test_the_gate_wants_a_difference_that_matters_and_is_sure(
    gain: float, n: int, decision: str
) -> None:
    before = np.random.default_rng(0).random(n)
    noise = np.resize([0.25, -0.25], n)
    assert compare_runs(before, before + gain + (noise if n < 4000 else 0)).decision == decision


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
@settings(deadline=None, max_examples=30)
def test_the_gate_turned_round_says_the_opposite(pairs: list[tuple[int, int]]) -> None:
    before, after = ([pair[i] / 4 for pair in pairs] for i in (0, 1))
    opposite = {"better": "worse", "worse": "better", "undecided": "undecided"}
    assert opposite[compare_runs(before, after).decision] == compare_runs(after, before).decision


def test_saved_runs_score_as_before(tmp_path: Path) -> None:
    question = Question(id="q 1", text="?", grades={"a b": 2, "c": 1})
    runs = {"q 1": {"c": 0.7, "a b": 0.7, "d%": -1.0}}
    write_run(tmp_path / "r", runs, "x")
    one, other = (retrieval_scores(r, [question]) for r in (runs, read_run(tmp_path / "r")))
    assert {k: v.tolist() for k, v in one.items()} == {k: v.tolist() for k, v in other.items()}


def test_the_browser_shows_what_was_said_and_the_page() -> None:
    page = Document(id_="p", text="ticket TID-584 says it", metadata={"title": "T", "path": "p"})
    browser = failure_browser(
        {"p": page},
        [GOLD, OPEN, GOLD],
        [Answer("<x>", "o"), Answer("y"), Answer("TID-584", "p")],
        ["read wrongly", "format", None],
    )
    kind, choice, view = browser.children
    assert kind.options == ("read wrongly", "format")
    assert len(choice.options) == 1 and "&lt;x&gt;" in view.value and "<mark>" in view.value
    kind.value = "format"
    assert choice.value == 1 and "No page answers" in view.value
    assert "failure browser" in repr(browser)
