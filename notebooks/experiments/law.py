"""The legal desk: base model and adapters, closed book and with cases; an overruling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from course_utils.generate.prompting import Chat
from course_utils.tasks import common, law
from course_utils.tasks.common import Scores
from course_utils.tasks.law import CaseQuestion, load_case_questions, load_cases
from course_utils.tasks.options import option_scores
from notebooks.experiments.bench import LONG, SHOWN, Arms, Bench


def law_experiment(lab: Bench) -> Arms:
    """The legal desk: base model and adapters, closed book and with cases; and an overruling."""
    cases = load_cases()
    learn, test = load_case_questions("train"), lab.some(load_case_questions("test"))
    ranked = {id(group): _ranked(group) for group in (learn, test)}
    found = [each[:SHOWN] for each in ranked[id(test)]]
    perfect = [law.with_controlling(some, q, cases) for some, q in zip(found, test, strict=True)]
    closed = [law.law_chat([q.question]) for q in test]

    def sourced(shown: Any) -> list[Chat]:
        return [law.law_chat([q.question], some) for q, some in zip(test, shown, strict=True)]

    def score(shown: Any = ()) -> Callable[[list[str]], Scores]:
        return lambda texts: law.score_law(texts, test, cases, shown)

    reading = _law_lessons(learn, ranked[id(learn)])
    reader = partial(lab.learn, reading, LONG)
    yield "LoRA, RAG", partial(reader, sourced(found), score(found), 150)
    yield "LoRA, RAG, gold shown", partial(reader, sourced(perfect), score(perfect), 150)
    asked = [law.instructed_law_chat(q.question, s) for q, s in zip(test, found, strict=True)]
    yield "base, RAG", partial(lab.write, asked, score(found), 150)
    asked = [law.instructed_law_chat(q.question) for q in test]
    yield "base, closed book", partial(lab.write, asked, score(), 150)
    shots = _law_shots(learn, ranked[id(learn)])
    asked = [common.few_shot(law.DESK, shots, chat) for chat in sourced(found)]
    yield "few-shot, RAG", partial(lab.write, asked, score(found), 150)
    knower = partial(lab.learn, [_closed(q) for q in learn], BY_HEART)
    yield "LoRA, closed book", partial(knower, closed, score(), 150)
    yield "LoRA, closed book, then RAG", partial(knower, sourced(found), score(found), 150)
    yield from _overruling(lab, learn)


# Questions with answers and nothing else are short.
BY_HEART = replace(LONG, epochs=3, tokens_per_pass=288, recompute=False)


def _ranked(questions: Sequence[CaseQuestion], overruled: bool = False) -> Any:
    return law.find_cases([q.question for q in questions], load_cases(), overruled)


def _law_lessons(questions: list[CaseQuestion], ranked: Any) -> list[Chat]:
    """Each question three times, each time with other neighbours and other cases."""
    return [
        chat for seed in range(3) for chat in law.law_lessons(questions, ranked, SHOWN, seed=seed)
    ]


def _closed(question: CaseQuestion) -> Chat:
    return law.law_chat([question.question], (), [question.answer])


def _law_shots(questions: list[CaseQuestion], ranked: Any) -> list[Chat]:
    """The first question of each outcome whose case is among those found."""
    shots: dict[str, Chat] = {}
    for question, found in zip(questions, ranked, strict=True):
        shown = found[:SHOWN]
        if not question.case or question.case in {case.id for case in shown}:
            chat = law.law_chat([question.question], shown, [question.answer])
            shots.setdefault(question.outcome, chat)
    return list(shots.values())


def _overruling(lab: Bench, learn: list[CaseQuestion]) -> Arms:
    """Adapters trained before some cases were overruled, asked before and after.

    Nothing was chosen on the dev questions, so they are asked too.
    """
    cases = load_cases()
    known = {case.id: case for case in cases}
    after = [q for split in ("dev", "test") for q in load_case_questions(split)]
    after = lab.some([q for q in after if q.case and known[q.case].overrules])
    before = [law.before_overruling(question, cases) for question in after]
    closed = [law.law_chat([q.question]) for q in after]
    indexes = {
        name: [found[:SHOWN] for found in _ranked(after, overruled)]
        for name, overruled in (("old index", True), ("new index", False))
    }
    rag = {
        name: [law.law_chat([q.question], s) for q, s in zip(after, found, strict=True)]
        for name, found in indexes.items()
    }

    def score(chats: list[Chat], found: Any, texts: list[str]) -> Scores:
        """Which of the two cases is cited, and which of the two gets the higher probability."""
        prefers_new = []
        for chat, old, new in zip(chats, before, after, strict=True):
            two = ["\n".join(q.answer.splitlines()[:2]) for q in (old, new)]
            prefers_new.append(float(option_scores(lab.llm, chat, two).argmax()))
        shown = [{case.id for case in each} for each in found] or [set() for _ in after]
        return {
            "cites old": [
                float(known[q.case].citation in text) for q, text in zip(before, texts, strict=True)
            ],
            "cites new": [
                float(known[q.case].citation in text) for q, text in zip(after, texts, strict=True)
            ],
            "new more probable": prefers_new,
            "found old": [float(q.case in ids) for q, ids in zip(before, shown, strict=True)],
            "found new": [float(q.case in ids) for q, ids in zip(after, shown, strict=True)],
        }

    was = [law.before_overruling(question, cases) for question in learn]
    knower = partial(lab.learn, [_closed(q) for q in was], BY_HEART)
    yield "LoRA before, closed book", partial(knower, closed, partial(score, closed, []), 150)
    reader = partial(lab.learn, _law_lessons(was, _ranked(was, overruled=True)), LONG)
    for name, chats in rag.items():
        grade = partial(score, chats, indexes[name])
        yield f"LoRA before, RAG, {name}", partial(reader, chats, grade, 150)
