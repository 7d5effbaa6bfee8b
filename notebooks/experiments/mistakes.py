"""What notebook 08 needs beside the others."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from course_utils.lab.faults import BROKEN_SEARCHES, Faults, search_factory
from course_utils.search.fusion import FusedRetriever
from course_utils.search.retrieval import BM25Retriever, DenseRetriever
from course_utils.tasks import emails, handbook
from course_utils.tasks.common import Scores
from course_utils.tasks.emails import load_emails
from course_utils.tasks.handbook import load_handbook, load_questions
from course_utils.tasks.options import option_scores
from course_utils.tune.adapters import attached
from course_utils.tune.recipes import Recipe
from course_utils.tune.training import train
from notebooks.experiments.bench import Arms, Bench, read_by_adapter, reader_lessons


def mistake_experiment(lab: Bench) -> Arms:
    """What notebook 08 needs beside the others: how sure, more rules, and broken searches."""
    facts = lab.some(handbook.facts_with_paraphrases())
    options = [handbook.four_options(facts, place) for place in range(len(facts))]
    closed = [handbook.fact_chat(old.text) for old, _, _ in facts]

    def sure() -> Scores:
        """Of the likelihood of the four options, the share of week 1's and of week 2's."""
        shares = []
        for chat, four in zip(closed, options, strict=True):
            likelihood = np.exp(option_scores(lab.llm, chat, four))
            shares.append((likelihood / likelihood.sum()).round(4).tolist())
        return {f"sure of week {week}": [each[week - 1] for each in shares] for week in (1, 2)}

    def tuned(week: int) -> dict[str, Any]:
        examples = [
            handbook.fact_chat(text, (old, new)[week - 1].answer)
            for old, new, others in facts
            for text in others
        ]
        recipe = lab.recipe(Recipe(epochs=4, tokens_per_step=512))  # as in `knowledge`
        adapter = train(lab.llm, examples, recipe)
        with attached(lab.llm, adapter):
            return {"scores": sure(), "train_seconds": adapter.seconds}

    yield "sure, base", lambda: {"scores": sure()}
    for week in (1, 2):
        yield f"sure, LoRA of week {week}", partial(tuned, week)

    made = search_factory(load_handbook(), lab.embedder)
    nodes = made(Faults()).nodes
    search = FusedRetriever([BM25Retriever(nodes), DenseRetriever(nodes, lab.embedder)], k=10)
    lessons = reader_lessons(nodes, search)
    test = lab.some(load_questions("test", "stress"))
    for name, faults in BROKEN_SEARCHES.items():
        found = made(faults).search([question.text for question in test])
        yield f"reader, {name}", partial(read_by_adapter, lab, lessons, test, found)

    held = lab.some(load_emails(held_out=True))
    rules = lab.embedder.encode(emails.guide_rules())
    near = np.argsort(-(lab.embedder.encode([brief.brief for brief in held]) @ rules.T))
    for most in (1, 10):
        best = [[emails.guide_rules()[place] for place in sorted(row[:most])] for row in near]
        chats = [emails.guided_chat(*pair) for pair in zip(held, best, strict=True)]
        score = partial(emails.score_emails, briefs=held)
        yield f"guide, {most} rule{'s' * (most > 1)}", partial(lab.write, chats, score, 160)
