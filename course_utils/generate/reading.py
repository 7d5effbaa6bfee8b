"""Readers: from a question's hits to an answer with its page. Notebook 01."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llama_index.core.schema import NodeWithScore

from course_utils.files import InputError
from course_utils.generate.chat_api import ask, option_probabilities
from course_utils.generate.citing import Answer, best_source, cite, without_citations
from course_utils.generate.decoding import generate
from course_utils.generate.prompting import (
    CITE_AGAIN,
    Chat,
    checking_chat,
    citing_chat,
    rag_chat,
)
from course_utils.models.endpoints import Endpoint
from course_utils.models.generator import LanguageModel
from course_utils.search.documents import page_of

SURE_ENOUGH = 0.5  # the least probability that the sources state an answer; see notebook 01

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
        asked = [pair for pair in zip(questions, hits, strict=True) if pair[1]]
        texts = iter(self.written(asked))
        answers, sources = [], []
        for own in hits:
            said = next(texts) if own else ""
            text = without_citations(said)
            source = best_source(said, own) if text else None
            sources.append(source)
            answers.append(Answer(text, page_of(source.node) if source else None))
        return self.checked(questions, answers, sources) if self.threshold > 0 else answers

    def written(self, asked: Sequence[tuple[str, Sequence[NodeWithScore]]]) -> list[str]:
        """What the model writes; where that is only a number, it is asked in other words."""
        texts = ask(self.llm, [self.prompt(*pair) for pair in asked], self.max_new_tokens)
        wordless = [i for i, text in enumerate(texts) if not without_citations(text)]
        again = [citing_chat(*asked[i], instruction=CITE_AGAIN) for i in wordless]
        for i, text in zip(wordless, ask(self.llm, again, self.max_new_tokens), strict=True):
            texts[i] = text
        return texts

    def checked(
        self,
        questions: Sequence[str],
        answers: Sequence[Answer],
        sources: Sequence[NodeWithScore | None],
    ) -> list[Answer]:
        """The answers with their sureness; those below the threshold become refusals."""
        chats = [
            checking_chat(question, answer.text, source)
            for question, answer, source in zip(questions, answers, sources, strict=True)
            if source
        ]
        yes = iter(option_probabilities(self.llm, chats, ["yes", "no"])[:, 0] if chats else ())
        checked = []
        for answer in answers:
            sureness = float(next(yes)) if answer.text else 0.0
            kept = replace(answer, sureness=sureness)
            checked.append(kept if sureness >= self.threshold else Answer("", None, sureness))
        return checked


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
