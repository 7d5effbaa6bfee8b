"""Readers: from a question's hits to an answer with its page. Notebook 01."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llama_index.core.schema import NodeWithScore

from course_utils.generate.citing import Answer, cite
from course_utils.generate.decoding import generate
from course_utils.generate.prompting import rag_chat
from course_utils.models.generator import Endpoint, LanguageModel

Reader = Callable[[Sequence[str], Sequence[Sequence[NodeWithScore]]], list[Answer]]


def read_with(
    llm: LanguageModel | Endpoint,
    questions: Sequence[str],
    hits: Sequence[Sequence[NodeWithScore]],
) -> list[Answer]:
    """Answer each question from its nodes with a generator, and cite (see ``cite``)."""
    chats = [rag_chat(question, own) for question, own in zip(questions, hits, strict=True)]
    return cite(generate(llm, chats), hits)
