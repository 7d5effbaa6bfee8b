"""Readers: from a question's hits to an answer with its page. Notebook 01."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from llama_index.core.schema import NodeWithScore

from course_utils.files import InputError, progress
from course_utils.generate.chat_api import ask, option_probabilities
from course_utils.generate.citing import Answer, best_source, cite, without_citations
from course_utils.generate.decoding import generate
from course_utils.generate.prompting import Chat, checking_chat, citing_chat, rag_chat
from course_utils.models.endpoints import Endpoint
from course_utils.models.generator import LanguageModel
from course_utils.search.documents import page_of

SURE_ENOUGH = 0.5  # the least probability that the sources state an answer; see notebook 01

Reader = Callable[[Sequence[str], Sequence[Sequence[NodeWithScore]]], list[Answer]]


@dataclass(frozen=True)
class CitingReader:
    """Answers from numbered sources, names one of them, and refuses what that one does not say.

    In two steps: the model answers, and then says whether the source states this answer. The
    probability of "yes" is the answer's sureness; it is 0 if less than half of the answer's words
    are in the source. Asked to do both at once, small models refuse too often or not at all.

    Args:
        llm: a model behind the chat API that returns the probabilities of tokens.
        threshold: an answer less sure than this is a refusal; 0 never refuses, and does not ask.
        max_new_tokens: length at which an answer is cut off.
        prompt: makes the chat from a question and its hits.

    Raises:
        InputError: the model is not behind the chat API.
    """

    llm: Endpoint
    threshold: float = SURE_ENOUGH
    max_new_tokens: int = 48
    prompt: Callable[[str, Sequence[NodeWithScore]], Chat] = citing_chat

    def __post_init__(self) -> None:
        if not isinstance(self.llm, Endpoint):
            raise InputError(
                "This reader needs a model behind the chat API, such as load_reader() without "
                "COURSE_GENERATOR; read_with works with any generator."
            )

    def __call__(
        self, questions: Sequence[str], hits: Sequence[Sequence[NodeWithScore]]
    ) -> list[Answer]:
        with ThreadPoolExecutor(self.llm.requests) as pool:
            pairs = zip(questions, hits, strict=True)
            answers = pool.map(lambda pair: self.read(*pair), list(pairs))
            return list(progress(answers, "questions", len(questions)))

    def read(self, question: str, hits: Sequence[NodeWithScore]) -> Answer:
        """One answer, with the page of the source it rests on, or a refusal."""
        if not hits:
            return Answer("", None, 0.0)
        (said,) = ask(self.llm, [self.prompt(question, hits)], self.max_new_tokens)
        text, (source, share) = without_citations(said), best_source(said, hits)
        if self.threshold == 0:
            return Answer(text, page_of(source.node))
        sureness = self.sureness(question, text, source) if share >= 0.5 else 0.0
        if sureness < self.threshold:
            return Answer("", None, sureness)
        return Answer(text, page_of(source.node), sureness)

    def sureness(self, question: str, text: str, source: NodeWithScore) -> float:
        """The probability that a source states an answer, as the model sees it."""
        chat = checking_chat(question, text, source)
        ((yes, _),) = option_probabilities(self.llm, [chat], ["yes", "no"])
        return float(yes)


def read_with(
    llm: LanguageModel | Endpoint,
    questions: Sequence[str],
    hits: Sequence[Sequence[NodeWithScore]],
) -> list[Answer]:
    """Answer each question from its nodes with a generator, and cite (see ``cite``)."""
    if isinstance(llm, Endpoint):
        return CitingReader(llm, threshold=0)(questions, hits)
    chats = [rag_chat(question, own) for question, own in zip(questions, hits, strict=True)]
    return cite(generate(llm, chats), hits)
