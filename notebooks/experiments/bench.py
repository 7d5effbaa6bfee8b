"""What the experiments share: the models, and how an arm writes, trains and is scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from course_utils.generate.decoding import count_tokens, generate
from course_utils.generate.prompting import Chat
from course_utils.models.embedding import load_embedder
from course_utils.models.generator import LanguageModel, load_generator
from course_utils.models.registry import ModelError
from course_utils.models.weights import weights_digest
from course_utils.tasks import handbook
from course_utils.tasks.common import Scores
from course_utils.tasks.handbook import load_questions
from course_utils.tune.adapters import attached
from course_utils.tune.recipes import Recipe
from course_utils.tune.training import train

Arms = Iterator[tuple[str, Callable[[], dict[str, Any]]]]
T = TypeVar("T")


class Bench:
    """What the arms share: the models, and how much of everything to use."""

    def __init__(self, small: bool = False) -> None:
        self.small = small
        llm = load_generator()
        if not isinstance(llm, LanguageModel):
            raise ModelError(
                "An experiment trains, which needs a local model: unset COURSE_GENERATOR."
            )
        self.llm = llm

    @cached_property
    def key(self) -> str:
        """Tells the results of one model and size of run from those of another."""
        return weights_digest(self.llm.model)[:12] + ("-small" if self.small else "")

    @cached_property
    def embedder(self) -> Any:
        return load_embedder()

    def some(self, items: Sequence[T], most: int | None = None) -> list[T]:
        """The first of some items: all that are wanted, or two in a small run."""
        return list(items[: 2 if self.small else most])

    def length(self, new: int) -> int:
        """How many tokens to write at most."""
        return 8 if self.small else new

    def recipe(self, wanted: Recipe) -> Recipe:
        """A recipe, or the same with one epoch in a small run."""
        return replace(wanted, epochs=1) if self.small else wanted

    def write(
        self, chats: list[Chat], score: Callable[[list[str]], Scores], new: int, **settings: Any
    ) -> dict[str, Any]:
        """Let the model answer, and score it; seconds are for one answer in a batch, and alone."""
        new = self.length(new)
        began = time.perf_counter()
        texts = generate(self.llm, chats, new, 16384, shared_prefix=True, **settings)
        batched = (time.perf_counter() - began) / len(chats)
        began = time.perf_counter()
        for chat in chats[:2]:
            generate(self.llm, [chat], new)
        return {
            "scores": score(texts),
            "prompt_tokens": float(np.mean([count_tokens(self.llm, chat) for chat in chats])),
            "seconds": round(batched, 3),
            "seconds_alone": round((time.perf_counter() - began) / len(chats[:2]), 3),
        }

    def learn(
        self, examples: list[Chat], recipe: Recipe, *arguments: Any, **settings: Any
    ) -> dict[str, Any]:
        """Train an adapter, or load it, and ``write`` with it."""
        adapter = train(self.llm, self.some(examples), self.recipe(recipe))
        with attached(self.llm, adapter):
            written = self.write(*arguments, **settings)
        cost = {"train_seconds": adapter.seconds, "train_tokens": adapter.tokens}
        return written | cost | {"folder": adapter.folder.name}


def read_by_adapter(lab: Bench, lessons: Any, asked: Any, found: Any) -> dict[str, Any]:
    """Train a reader, or load it, and let it answer."""
    chats = [
        handbook.reading_chat([q.text], [hit.node for hit in hits])
        for q, hits in zip(asked, found, strict=True)
    ]

    def score(texts: list[str]) -> Scores:
        answers = [handbook.read_answer(*pair) for pair in zip(texts, found, strict=True)]
        return handbook.score_reading(answers, asked, found)

    return lab.learn(lessons, LONG, chats, score, 24)


def reader_lessons(nodes: Any, search: Any) -> list[Chat]:
    """The train questions, twice, on what is found for them, and rows of tables on other pages."""
    learn = load_questions("train", "stress")
    held = [q for split in ("dev", "test") for q in load_questions(split, "stress")]
    apart = {span.page for question in held for span in question.gold}
    found = search.search([question.text for question in learn], 50)
    lessons = handbook.row_lessons(nodes, apart, most=40)
    for seed in (0, 1):
        lessons += handbook.reading_lessons(learn, found, nodes, seed=seed)
    return lessons


# Reading needs long examples, and a rank above that of a form.
LONG = Recipe(
    rank=16, alpha=32, epochs=1, tokens_per_step=1024, tokens_per_pass=1024, recompute=True
)

SHOWN = 5  # headnotes in a prompt
