"""Prompts: chats are lists of ``{"role": …, "content": …}`` messages. Notebook 01."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.schema import NodeWithScore

Chat = list[dict[str, str]]
ASK = "Answer in a few words."
ASK_WITH_SOURCES = "Answer the question in a few words, using only the sources."


def closed_book_chat(question: str) -> Chat:
    """The question alone: whatever is answered comes out of the weights."""
    return [{"role": "user", "content": f"{ASK}\n\nQuestion: {question}"}]


def rag_chat(question: str, hits: Sequence[NodeWithScore]) -> Chat:
    """The question below numbered sources, the best first.

    Args:
        question: what is asked.
        hits: what was retrieved, best first.
    """
    sources = "\n\n".join(
        f"[{number}] {hit.node.metadata.get('title', '')}\n{hit.node.get_content().strip()}"
        for number, hit in enumerate(hits, start=1)
    )
    content = f"{ASK_WITH_SOURCES}\n\n{sources}\n\nQuestion: {question}"
    return [{"role": "user", "content": content}]


CITE = (
    "Answer the question from the sources above. Copy the answer in as few words as possible, and "
    "end with the number of its source in brackets, such as [1]."
)
STATES = "Does the text above state that this is the answer? Reply yes or no."


def citing_chat(question: str, hits: Sequence[NodeWithScore]) -> Chat:
    """The question, numbered sources, and the question again; the answer is to end with ``[n]``.

    A model that knows the question before it reads the sources finds more of the answers.

    Args:
        question: what is asked.
        hits: what was retrieved, best first.
    """
    sources = "\n\n".join(f"[{n}] {source_text(hit)}" for n, hit in enumerate(hits, start=1))
    asked = f"Question: {question}"
    content = f"{asked}\n\nSources:\n\n{sources}\n\n{asked}\n\n{CITE}"
    return [{"role": "user", "content": content}]


def checking_chat(question: str, answer: str, source: NodeWithScore) -> Chat:
    """One source, the question and an answer: is this stated there?"""
    asked = f"Question: {question}\nAnswer: {answer}"
    return [{"role": "user", "content": f"{source_text(source)}\n\n{asked}\n\n{STATES}"}]


def source_text(hit: NodeWithScore) -> str:
    """A node as a source: its title and its text."""
    return f"{hit.node.metadata.get('title', '')}\n{hit.node.get_content().strip()}"
