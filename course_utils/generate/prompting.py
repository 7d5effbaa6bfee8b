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
WRITE_OUT = (  # now and then, the number is all that a small model says
    "Now write the answer itself, copied in as few words as possible, and then the number of its "
    "source in brackets."
)
STATES = "Does the text state that this is the answer to this question? Reply yes or no."
# Invented texts, each with a question and an answer, and whether the text states this answer. A
# small model says yes to any answer of the right kind; from these it learns to mind the names.
CHECKED_ANSWERS = (
    (
        "Harbour café: opening hours\nMonday to Friday 07:30 to 15:00. Closed on holidays.",
        ("when does the harbour cafe open on Mondays", "07:30", "yes"),
    ),
    (
        "Printer on floor 2\nToner is in the cupboard beside the lift. Paper jams: call ext. 3120.",
        ("Where is the toner for the printer on floor 5?", "in the cupboard beside the lift", "no"),
    ),
    (
        "Network codes\n**NET-304**: the switch lost its configuration. Restore it from last "
        "night's backup.",
        ("What does NET-340 mean?", "the switch lost its configuration", "no"),
    ),
    (
        "Guest parking\n6 places in front of the hall, for four hours at most. Ask the porter for "
        "a card.",
        ("For how long may guests park?", "four hours", "yes"),
    ),
    (
        "Business trips\nTrains are booked in second class. Hand in receipts within 30 days.",
        ("Who approves flights?", "Hand in receipts within 30 days.", "no"),
    ),
    (
        "Network codes\n**NET-118**: no address left in the pool. Remedy: shorten the lease.",
        ("NET-118 meaning", "no address left in the pool", "yes"),
    ),
)


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


def writing_out_chat(chat: Chat, said: str) -> Chat:
    """The same chat after an answer without words: the answer itself is asked for."""
    reply = {"role": "assistant", "content": said}
    return [*chat, reply, {"role": "user", "content": WRITE_OUT}]


def checking_chat(question: str, answer: str, source: NodeWithScore) -> Chat:
    """One source, a question and an answer: is this stated there? Six examples come first."""
    chat: Chat = []
    for text, (asked, said, stated) in CHECKED_ANSWERS:
        chat.append({"role": "user", "content": _is_stated(text, asked, said)})
        chat.append({"role": "assistant", "content": stated})
    return [*chat, {"role": "user", "content": _is_stated(source_text(source), question, answer)}]


def _is_stated(text: str, question: str, answer: str) -> str:
    return f"Text:\n{text}\n\nQuestion: {question}\nAnswer: {answer}\n\n{STATES}"


def source_text(hit: NodeWithScore) -> str:
    """A node as a source: its title and its text."""
    return f"{hit.node.metadata.get('title', '')}\n{hit.node.get_content().strip()}"
