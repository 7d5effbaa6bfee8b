"""Each fault does what it says, and no other part of the search changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llama_index.core import Document

from course_utils.generate.citing import Answer
from course_utils.lab import explorers, faults
from course_utils.lab.faults import Faults, search_factory
from course_utils.search.documents import Question, Span

WORDS = ["lampd", "ferry", "cellar", "brine", "quill", "tide", "icing", "thaw"]
PAGES = [
    Document(id_=word, text=f"{word} runs on port {number}", metadata={"title": word})
    for number, word in enumerate(WORDS)
]
ASKED = [
    Question(
        f"q{n}",
        f"{word} port",
        answer=str(n),
        gold=(Span(word, 0, len(word) + 16),),
        grades={word: 2},
    )
    for n, word in enumerate(WORDS)
]


@pytest.fixture
def made(embedder: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    class Other:
        """Vectors of the same length that mean something else."""

        fingerprint = "other"

        def __init__(self, texts: list[str], dimension: int) -> None:
            self.dimension = dimension

        def encode(self, texts: list[str]) -> np.ndarray:
            return np.eye(self.dimension, dtype=np.float32)[: len(texts)]

    embedder.tokenizer = tokenizer
    monkeypatch.setattr(faults, "LsaEmbedder", Other)
    return search_factory(PAGES, embedder)


def first(search: Any) -> list[str]:
    found = search.search([question.text for question in ASKED])
    return [hits[0].node.ref_doc_id if hits else "" for hits in found]


def test_without_a_fault_the_page_is_found(made: Any) -> None:
    assert first(made(Faults())) == WORDS
    shown = faults.measure_symptoms(made(Faults()), ASKED)
    assert shown["answer in the sources"].value == shown["nDCG@10 of pages"].value == 1
    assert shown["no source at all"].value == 0


def test_reversed_scores_put_the_best_last(made: Any) -> None:
    right = made(Faults()).search([ASKED[0].text], 50)[0]
    wrong = made(Faults(reversed_scores=True)).search([ASKED[0].text], 50)[0]
    assert [hit.node_id for hit in wrong] == [hit.node_id for hit in right][::-1]
    scores = [hit.get_score() for hit in wrong]
    assert scores == sorted(scores, reverse=True)


def test_a_threshold_leaves_questions_without_sources(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "THRESHOLD", 0.9)
    shown = faults.measure_symptoms(made(Faults(high_threshold=True)), ASKED)
    assert shown["no source at all"].value == 1 and shown["nDCG@10 of pages"].value == 0
    monkeypatch.setattr(faults, "THRESHOLD", 0.0)
    assert first(made(Faults(high_threshold=True))) == WORDS


def test_another_embedder_for_questions_finds_anything(made: Any) -> None:
    assert first(made(Faults(other_embedder=True))) != WORDS


def test_one_large_chunk_is_shown_for_three_small_ones(made: Any) -> None:
    search = made(Faults(large_chunks=True))
    assert [len(hits) for hits in search.search(["lampd", "ferry"])] == [1, 1]
    assert len(made(Faults()).search(["lampd"])[0]) == 3


def test_each_search_is_made_once(made: Any) -> None:
    assert made(Faults()) is made(Faults())
    assert made(Faults()) is not made(Faults(reversed_scores=True))


def test_the_explorer_shows_what_moves_and_what_is_answered(made: Any) -> None:
    asked: list[list[str]] = []

    def reader(questions: Any, found: Any) -> list[Answer]:
        asked.append([hit.node.ref_doc_id for hit in found[0]])
        return [Answer("<b>8</b>")]

    view = explorers.broken_pipeline_explorer(made, ASKED, reader)
    *switches, numbers, choice, ask, answer = view.children
    assert repr(view) == "broken pipeline explorer (run the cell to use it)"
    assert [switch.value for switch in switches] == [False] * 4 and "falls" not in numbers.value
    switches[3].value = True
    assert "<b>falls</b>" in numbers.value and "aria-live" in numbers.value
    choice.value = 3
    ask.click()
    assert "&lt;b&gt;8&lt;/b&gt;" in answer.value and WORDS[3] not in asked[0]
    switches[3].value = False
    assert "falls" not in numbers.value and answer.value == ""


def test_the_explorer_says_what_went_wrong(made: Any) -> None:
    def reader(questions: Any, found: Any) -> list[Answer]:
        raise RuntimeError("no reader")

    *_, ask, answer = explorers.broken_pipeline_explorer(made, ASKED, reader).children
    ask.click()
    assert "no reader" in answer.value
