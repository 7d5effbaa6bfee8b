"""Search with other words than the question's: a model rewrites it. Notebook 03.

A rewriting turns each question into one or more queries; ``RewrittenRetriever`` searches for all of
them and fuses what they find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores import MetadataFilters

from course_utils.generate.decoding import generate
from course_utils.generate.prompting import Chat
from course_utils.models.generator import Endpoint, LanguageModel
from course_utils.search.fusion import reciprocal_rank_fusion
from course_utils.search.retrieval import NodeRetriever

K, DEPTH = 10, 100  # of the fusion: chosen on dev in notebook 03; candidates of each query
LENGTH = 32  # tokens that a rewriting may take

Rewriting = Callable[[Sequence[str]], list[list[str]]]  # n questions -> n lists of queries

OTHER_WORDS = (
    "Write this question in two other ways, short and with other words, for a search engine. One "
    "per line, nothing else."
)
PASSAGE = (
    "Write one sentence of an engineering wiki that would answer this question. Make up what you "
    "do not know. Write only the sentence."
)
PARTS = (
    "To answer this question one may have to look up two things, one after the other. Write a "
    "search query for each, one per line, nothing else. If one is enough, write only one."
)
HOUSE_WORDS = (
    "Write the question again with the glossary's word in place of a plain one, where the glossary "
    "has one for what is meant. Change nothing else and write only the question."
)
ON_ITS_OWN = (
    'Write what they asked then as a complete question that names what "it" or "they" is. Write '
    "only the question."
)


class RewrittenRetriever(NodeRetriever):
    """Searches for every query that a rewriting makes of a question, and fuses the rankings.

    The first query counts as much as all others together: it is the question itself in all
    rewritings of this module, and on dev, giving each query the same weight lost more.

    Example:
        >>> def singular(questions):
        ...     return [[question, question.rstrip("s")] for question in questions]
        >>> RewrittenRetriever(retriever, singular).retrieve("ferries")  # doctest: +SKIP
    """

    def __init__(
        self,
        retriever: NodeRetriever,
        rewriting: Rewriting,
        top_k: int = 5,
        filters: MetadataFilters | None = None,
        by_page: bool = False,
    ) -> None:
        """Put a rewriting before a retriever.

        Args:
            retriever: answers the queries.
            rewriting: the functions of this module, such as ``partial(imagine, llm)``, or yours.
            top_k: see ``search``, like ``filters``.
            by_page: see ``reciprocal_rank_fusion``.
        """
        super().__init__(top_k, filters)
        self.retriever = retriever
        self.rewriting = rewriting
        self.by_page = by_page

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        queries = self.rewriting(questions)
        flat = [query for own in queries for query in own]
        found = iter(self.retriever.search(flat, max(DEPTH, top_k), filters))
        for own in queries:
            rankings = [next(found) for _ in own]
            if len(rankings) > 1:
                weights = [len(own) - 1, *[1] * (len(own) - 1)]
                fused = reciprocal_rank_fusion(rankings, weights, K, self.by_page)
                rankings = [fused]
            yield rankings[0][:top_k] if rankings else []


def reword(
    llm: LanguageModel | Endpoint, questions: Sequence[str], most: int = 2
) -> list[list[str]]:
    """Multi-query: the question and up to ``most`` other ways to ask it."""
    return _queries(llm, questions, [_about(q, OTHER_WORDS) for q in questions], most)


def imagine(llm: LanguageModel | Endpoint, questions: Sequence[str]) -> list[list[str]]:
    """HyDE (Gao et al., 2022): the question, and an invented passage that would answer it."""
    return _queries(llm, questions, [_about(q, PASSAGE) for q in questions], 1)


def decompose(llm: LanguageModel | Endpoint, questions: Sequence[str]) -> list[list[str]]:
    """The question, and up to two queries for the things one has to look up."""
    return _queries(llm, questions, [_about(q, PARTS) for q in questions], 2)


def translate(
    llm: LanguageModel | Endpoint, glossary: str, questions: Sequence[str]
) -> list[list[str]]:
    """The question, and the same in the words of a glossary that the model reads.

    Args:
        llm: translates.
        glossary: a text that says what the house's words mean.
        questions: n questions.
    """
    chats = [_about(f"{glossary}\n\n---\n\nQuestion: {q}", HOUSE_WORDS) for q in questions]
    return _queries(llm, questions, chats, 1)


def stand_alone(llm: LanguageModel | Endpoint, conversations: Sequence[Chat]) -> list[str]:
    """The last message of each conversation as a question that can be searched for.

    Args:
        llm: rewrites.
        conversations: chats that end with the user's follow-up question.
    """
    chats = []
    for messages in conversations:
        told: list[str] = []
        for message in messages:
            if message["role"] == "assistant":
                told.append(f"The answer was: {message['content']}")
            elif message["role"] == "user":
                told.append(f"{'Then they' if told else 'Somebody'} asked: {message['content']}")
        chats.append(_about("\n".join(told), ON_ITS_OWN))
    return [text.strip() for text in generate(llm, chats, LENGTH)]


def _about(question: str, order: str) -> Chat:
    return [{"role": "user", "content": f"{question}\n\n{order}"}]


def lines_of_reply(text: str) -> list[str]:
    """The lines of a reply without bullets and numbers.

    Example:
        >>> lines_of_reply("1. How late?\\n- When?\\n")
        ['How late?', 'When?']
    """
    lines = [re.sub(r"^\s*(\d+[.)]|[-*•])\s*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def _queries(
    llm: LanguageModel | Endpoint, questions: Sequence[str], chats: Sequence[Chat], most: int
) -> list[list[str]]:
    """Each question, and up to ``most`` other queries that the model writes, a line for each."""
    replies = generate(llm, chats, LENGTH)
    queries = []
    for question, reply in zip(questions, replies, strict=True):
        queries.append(list(dict.fromkeys([question, *lines_of_reply(reply)[:most]])))
    return queries
