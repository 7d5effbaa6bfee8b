"""Queries in other words than the question's, and the fusion of what they find."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.schema import NodeWithScore

from course_utils.lab import rewriting
from course_utils.search.retrieval import BM25Retriever, NodeRetriever

PAGES = [
    Document(id_="crib", text="A crib is charged at night."),
    Document(id_="ferry", text="The ferry copies rows."),
    Document(id_="tide", text="The tide posts invoices."),
]


def say(monkeypatch: pytest.MonkeyPatch, *replies: str) -> list[str]:
    """Let the model reply; what it was asked."""
    asked: list[str] = []

    def ask(llm: Any, chats: Any, max_new_tokens: int) -> list[str]:
        asked.extend(chat[-1]["content"] for chat in chats)
        return list(replies)

    monkeypatch.setattr(rewriting, "generate", ask)
    return asked


def test_every_query_is_searched_and_the_rankings_are_fused() -> None:
    def glossed(questions: Any) -> list[list[str]]:
        return [["box charged", "crib charged", "crib night"], ["tide"]]

    search = rewriting.RewrittenRetriever(BM25Retriever(PAGES), glossed)
    first, second = search.search(["box?", "tide?"], 2)
    assert [hit.node_id for hit in first] == ["crib"]
    assert [hit.node_id for hit in second] == ["tide"]


def test_one_query_leaves_the_ranking_as_it_is() -> None:
    plain = BM25Retriever(PAGES)
    same = rewriting.RewrittenRetriever(plain, lambda questions: [[q] for q in questions])
    wanted = plain.search(["the crib or the ferry rows"], 3)[0]
    found = same.search(["the crib or the ferry rows"], 3)[0]
    assert [(hit.node_id, hit.score) for hit in found] == [(h.node_id, h.score) for h in wanted]


def test_a_rewriting_without_a_query_finds_nothing() -> None:
    search = rewriting.RewrittenRetriever(BM25Retriever(PAGES), lambda questions: [[]])
    assert search.retrieve("crib") == []


class Named(NodeRetriever):
    """Finds the page that a query names."""

    def _rank(self, questions: Any, top_k: int, filters: Any) -> Any:
        pages = {page.node_id: page for page in PAGES}
        return [[NodeWithScore(node=pages[name], score=1.0)] for name in questions]


def test_the_question_counts_as_much_as_all_its_rewritings() -> None:
    def two_others(questions: Any) -> list[list[str]]:
        return [["tide", "crib", "ferry"]]

    found = rewriting.RewrittenRetriever(Named(), two_others).search(["?"], 3)[0]
    scores = {hit.node_id: hit.get_score() for hit in found}
    assert np.isclose(scores["tide"], scores["crib"] + scores["ferry"])


def test_other_words_keep_the_question_first_and_drop_bullets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = say(monkeypatch, "1. How late?\n- When?\n\nWhen?\n* At what time?\nToo many?")
    queries = rewriting.reword(None, ["What time?"], most=3)  # type: ignore[arg-type]
    assert queries == [["What time?", "How late?", "When?"]]
    assert asked[0].startswith("What time?")


@pytest.mark.parametrize("way", [rewriting.reword, rewriting.imagine, rewriting.decompose])
def test_a_model_that_says_nothing_leaves_the_question(
    way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, " \n", "Which?")
    assert way(None, ["What?", "Which?"]) == [["What?"], ["Which?"]]


def test_a_follow_up_is_asked_with_its_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = say(monkeypatch, "What does the ferry copy?")
    system = {"role": "system", "content": "Be short."}  # is none of what was said
    chat = [
        {"role": "user", "content": "What is the ferry?"},
        {"role": "assistant", "content": "A job."},
        {"role": "user", "content": "And what does it copy?"},
    ]
    assert rewriting.stand_alone(None, [[system, *chat]]) == ["What does the ferry copy?"]  # type: ignore
    assert "Somebody asked: What is the ferry?\nThe answer was: A job.\nThen they" in asked[0]


def test_a_rewriting_is_a_function_of_questions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, "ferry rows")
    search = rewriting.RewrittenRetriever(BM25Retriever(PAGES), partial(rewriting.imagine, None))  # type: ignore[arg-type]
    assert [hit.node_id for hit in search.retrieve("crib")] == ["crib", "ferry"]
