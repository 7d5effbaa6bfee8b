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


def source_text(hit: NodeWithScore) -> str:
    """A node as a source: its title and its text."""
    return f"{hit.node.metadata.get('title', '')}\n{hit.node.get_content().strip()}"
