"""What the tasks share: chats of several turns, and typed records."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, TypeVar

from course_utils.generate.prompting import Chat
from course_utils.search.documents import CorpusError

Scores = dict[str, list[float]]
T = TypeVar("T")


def turns(system: str, user: str, answer: str | None = None) -> Chat:
    """A chat of one question, with its answer when there is one to learn from."""
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return chat if answer is None else [*chat, {"role": "assistant", "content": answer}]


def few_shot(system: str, shots: Sequence[Chat], asked: Chat) -> Chat:
    """Examples as earlier turns of the same chat."""
    earlier = [message for shot in shots for message in shot[1:]]
    return [{"role": "system", "content": system}, *earlier, *asked[1:]]


def context_chat(
    system: str, context: str, questions: Sequence[str], answers: Sequence[str] = ()
) -> Chat:
    """A context once, and one question after the other below it.

    Args:
        system: the instruction.
        context: what was found; empty for closed book.
        questions: n questions.
        answers: none for a single question to be answered, or all n, to learn from.
    """
    chat = [{"role": "system", "content": system}]
    for turn, (question, answer) in enumerate(zip_longest(questions, answers)):
        asked = f"Question: {question}"
        content = f"{context}\n\n{asked}" if context and turn == 0 else asked
        chat.append({"role": "user", "content": content})
        if answer is not None:
            chat.append({"role": "assistant", "content": answer})
    return chat


def groups(subjects: Sequence[str], most: int, draw: random.Random) -> list[list[int]]:
    """Places with their likes, shuffled among them, so many at a time."""
    line = sorted(range(len(subjects)), key=lambda i: (subjects[i], draw.random()))
    return [line[at : at + most] for at in range(0, len(line), most)]


def typed_record(kind: type[T], record: dict[str, Any], where: str) -> T:
    try:
        return kind(**record)
    except TypeError as error:
        raise CorpusError(f"{where}: the fields are not those of {kind.__name__}.") from error
