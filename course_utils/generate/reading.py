"""Readers: from a question's hits to an answer with its page. Notebook 01."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from llama_index.core.schema import NodeWithScore

from course_utils.files import InputError
from course_utils.generate.chat_api import ask, option_probabilities
from course_utils.generate.citing import Answer, best_source, cite, without_citations
from course_utils.generate.decoding import generate
from course_utils.generate.prompting import (
    Chat,
    checking_chat,
    citing_chat,
    rag_chat,
    writing_out_chat,
)
from course_utils.models.endpoints import Endpoint
from course_utils.models.generator import LanguageModel
from course_utils.search.documents import page_of

SURE_ENOUGH = 0.59  # the least probability that the source states an answer; see notebook 01

Reader = Callable[[Sequence[str], Sequence[Sequence[NodeWithScore]]], list[Answer]]


@dataclass(frozen=True)
class CitingReader:
    """Answers from numbered sources, names one of them, and refuses what that one does not say.

    In two steps: the model answers, and then says whether the source states this answer. The
    probability of "yes" is the answer's sureness. Asked to do both at once, small models refuse too
    often or not at all.

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
        """Answers with the page of the source they rest on, or refusals.

        All questions are asked before all answers are checked: prompts that begin alike are
        cheaper when they follow one another.
        """
        pairs = list(zip(questions, hits, strict=True))
        chats = {i: self.prompt(*pair) for i, pair in enumerate(pairs) if pair[1]}
        answers = [Answer("", None, 0.0) for _ in pairs]
        checks = {}
        for i, said in self.written(chats).items():
            text = without_citations(said)
            if text:
                source = best_source(said, hits[i])
                answers[i] = Answer(text, page_of(source.node))
                checks[i] = checking_chat(questions[i], text, source)
        if self.threshold > 0:
            for i, sureness in self.sureness(checks).items():
                refused = sureness < self.threshold
                answers[i] = replace(Answer("") if refused else answers[i], sureness=sureness)
        return answers

    def written(self, chats: dict[int, Chat]) -> dict[int, str]:
        """What the model writes, by place; where it writes only a number, it is asked once more."""
        said = dict(zip(chats, self._ask(chats.values()), strict=True))
        wordless = [i for i, text in said.items() if not without_citations(text)]
        again = [writing_out_chat(chats[i], said[i]) for i in wordless]
        return said | dict(zip(wordless, self._ask(again), strict=True))

    def sureness(self, checks: dict[int, Chat]) -> dict[int, float]:
        """The probability that a source states the answer, as the model sees it, by place."""
        if not checks:
            return {}
        yes = option_probabilities(self.llm, list(checks.values()), ["yes", "no"])[:, 0]
        return dict(zip(checks, yes.tolist(), strict=True))

    def _ask(self, chats: Iterable[Chat]) -> list[str]:
        return ask(self.llm, list(chats), self.max_new_tokens)


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
