"""The front door's short ways: a pipeline, chunking, one question to a model, scored answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core import Document
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore

from course_utils import (
    BM25Retriever,
    Pipeline,
    chat,
    chunk_documents,
    evaluate_answers,
)
from course_utils.files import CourseError
from course_utils.generate.citing import Answer
from course_utils.models.generator import LanguageModel
from course_utils.search.documents import Question, Span

PAGES = [
    Document(id_="backup.md", text="Backups are kept 30 days.", metadata={"title": "Backup"}),
    Document(id_="ferry.md", text="The night ferry leaves at nine.", metadata={"title": "Ferry"}),
    Document(id_="kept.md", text="Nothing is kept here, not one day.", metadata={"title": "Bay"}),
]


def first_words(questions: Sequence[str], hits: Sequence[Sequence[NodeWithScore]]) -> list[Answer]:
    """A reader that answers with the first hit's first word."""
    answers = []
    for own in hits:
        text = own[0].node.get_content().split()[0] if own else ""
        answers.append(Answer(text, own[0].node_id if own else None))
    return answers


class Backwards(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: Any = None) -> Any:
        assert query_bundle is not None
        return nodes[::-1]


def test_a_pipeline_searches_reranks_and_reads() -> None:
    retriever = BM25Retriever(PAGES, top_k=3)
    plain = Pipeline(retriever, reader=first_words)
    assert plain.ask("How long are backups kept?") == Answer("Backups", "backup.md")
    turned = Pipeline(retriever, Backwards(), first_words)
    assert turned.ask("How long are backups kept?").page == "kept.md"
    assert [hit.node_id for hit in turned.search("backups kept")] == ["kept.md", "backup.md"]
    assert len(Pipeline(retriever, top_k=1).search("backups kept")) == 1
    pages = [answer.page for answer in plain.ask_all(["night ferry", "zebra"])]
    assert pages == ["ferry.md", None]


def test_a_pipeline_reads_with_a_generator(llm: LanguageModel) -> None:
    pages = [Document(id_="p", text="the port of lampd is 1 2", metadata={"title": "lampd"})]
    answer = Pipeline(BM25Retriever(pages), reader=llm).ask("what is the port of lampd ?")
    assert isinstance(answer.text, str)


def test_a_pipeline_says_what_it_lacks() -> None:
    with pytest.raises(CourseError, match="no reader: pass one"):
        Pipeline(BM25Retriever(PAGES)).ask("backups?")
    with pytest.raises(CourseError, match="top_k must be at least 1, not 0"):
        Pipeline(BM25Retriever(PAGES), top_k=0)


def test_chunks_know_their_page(tokenizer: Any) -> None:
    text = "one two three\n\n" * 8
    nodes: Any = chunk_documents([Document(id_="p", text=text)], tokenizer, size=6)
    assert len(nodes) == 4
    for node in nodes:
        assert node.ref_doc_id == "p"
        assert text[node.start_char_idx : node.end_char_idx] == node.get_content()


def test_one_question_is_a_chat(llm: LanguageModel) -> None:
    question = "what is the port of lampd ?"
    asked = chat(llm, [{"role": "user", "content": question}], max_new_tokens=4)
    assert chat(llm, question, max_new_tokens=4) == asked


def test_answers_are_scored_and_a_refusal_is_right_where_nothing_answers() -> None:
    known = Question("a", "?", answer="30 days", gold=(Span("backup.md", 0, 5),))
    unknown = Question("b", "?")
    answers = [Answer("30 days", "backup.md"), Answer(""), Answer("40 days", "x"), Answer("yes")]
    scores = evaluate_answers(answers, [known, unknown, known, unknown])
    assert scores["right"].tolist() == [1, 1, 0, 0]
    assert scores["refused"].tolist() == [0, 1, 0, 0]
    assert scores["cites"].tolist() == [1, 0, 1, 0]
    assert scores["cites gold"].tolist() == [1, 0, 0, 0]
