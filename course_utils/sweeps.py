"""The larger fine-tuning experiments, too long for a notebook: ``course sweep NAME``.

A sweep is a list of arms. Each arm trains or prompts, and gives one number an item, so that a
notebook can draw intervals and paired differences from the stored file. Arms that are done are
kept when a sweep is interrupted, and so is the training under way.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from llama_index.core.schema import MetadataMode, NodeWithScore

from course_utils import tasks
from course_utils.chunking import SpanSplitter, packed_blocks
from course_utils.corpus import (
    DATASETS,
    CaseQuestion,
    load_case_questions,
    load_cases,
    load_emails,
    load_handbook,
    load_questions,
    load_tickets,
)
from course_utils.evaluation import gold_coverage
from course_utils.faults import Faults, workshop
from course_utils.files import cache_dir, progress, write_text
from course_utils.finetuning import Chat, Recipe, attached, loss_on, train
from course_utils.formats import emails
from course_utils.generation import (
    CopyReader,
    count_tokens,
    generate,
    option_scores,
    rag_chat,
    read_with,
)
from course_utils.models import (
    LanguageModel,
    ModelError,
    load_embedder,
    load_generator,
    weights_digest,
)
from course_utils.retrieval import BM25Retriever, DenseRetriever, FusedRetriever
from course_utils.running import RunError
from course_utils.tasks import Scores

STORED = Path(__file__).resolve().parent.parent / "notebooks" / "sweeps"
Arms = Iterator[tuple[str, Callable[[], dict[str, Any]]]]
T = TypeVar("T")


# --- the arms -------------------------------------------------------------------------------------


class Lab:
    """What the arms share: the models, and how much of everything to use."""

    def __init__(self, small: bool = False) -> None:
        self.small = small
        llm = load_generator()
        if not isinstance(llm, LanguageModel):
            raise ModelError("A sweep trains, which needs a local model: unset COURSE_GENERATOR.")
        self.llm = llm

    @cached_property
    def key(self) -> str:
        """Tells the results of one model and size of run from those of another."""
        return weights_digest(self.llm.model)[:12] + ("-small" if self.small else "")

    @cached_property
    def embedder(self) -> Any:
        return load_embedder()

    def some(self, items: Sequence[T], most: int | None = None) -> list[T]:
        """The first of some items: all that are wanted, or two in a small sweep."""
        return list(items[: 2 if self.small else most])

    def length(self, new: int) -> int:
        """How many tokens to write at most."""
        return 8 if self.small else new

    def recipe(self, wanted: Recipe) -> Recipe:
        """A recipe, or the same with one epoch in a small sweep."""
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


def format_sweep(lab: Lab) -> Arms:
    """Tickets: prompts against adapters, and the learning curve, on the test messages."""
    learn, test = load_tickets("train"), lab.some(load_tickets("test"))
    shots = [tasks.ticket_chat(ticket, learned=True) for ticket in learn[:8]]
    asked = [tasks.ticket_chat(ticket) for ticket in test]
    prompts = {
        "zero-shot": [tasks.turns(tasks.TICKET, ticket.message) for ticket in test],
        "instructions": [tasks.instructed_chat(ticket) for ticket in test],
        "few-shot": [tasks.few_shot(tasks.TICKET, shots, chat) for chat in asked],
        "few-shot, four": [tasks.few_shot(tasks.TICKET, shots[:4], chat) for chat in asked],
    }

    def score(texts: list[str]) -> Scores:
        return tasks.score_tickets(texts, test)

    for name, chats in prompts.items():
        yield name, partial(lab.write, chats, score, 140)
    for name in ("few-shot", "few-shot, four"):
        constrained = partial(lab.write, prompts[name], score, 140, schema=tasks.SCHEMA)
        yield f"{name}, constrained", constrained
    recipe = Recipe(rank=32, alpha=64, epochs=4, tokens_per_step=1024)
    for n in (50, 100, 400):
        examples = [tasks.ticket_chat(ticket, learned=True) for ticket in learn[:n]]
        yield f"LoRA, {n}", partial(lab.learn, examples, recipe, asked, score, 140)
    valid = partial(lab.learn, examples, recipe, asked, score, 140, schema=tasks.SCHEMA)
    yield "LoRA, 400, constrained", valid


def voice_sweep(lab: Lab) -> Arms:
    """E-mails: prompts against adapters, and the learning curve, on the held-out briefs."""
    approved, held = load_emails(), lab.some(load_emails(held_out=True))
    order = np.random.default_rng(0).permutation(len(approved))
    approved = [approved[place] for place in order]
    shots = [tasks.email_chat(email, learned=True) for email in approved[:4]]
    rules = lab.embedder.encode(tasks.RULES)
    near = np.argsort(-(lab.embedder.encode([brief.brief for brief in held]) @ rules.T))
    best = [[tasks.RULES[place] for place in sorted(row[:5])] for row in near]
    asked = [tasks.email_chat(brief) for brief in held]
    guide = "\n".join([f"{tasks.EMAIL} Keep these rules:", *tasks.RULES])
    prompts = {
        "bare": [tasks.turns(tasks.EMAIL, brief.brief) for brief in held],
        "guide, 5 rules": [tasks.guided_chat(*pair) for pair in zip(held, best, strict=True)],
        "guide, all rules": [tasks.guided_chat(brief, tasks.RULES) for brief in held],
        "few-shot": [tasks.few_shot(tasks.EMAIL, shots, chat) for chat in asked],
        "guide and few-shot": [tasks.few_shot(guide, shots, chat) for chat in asked],
    }

    def score(texts: list[str]) -> Scores:
        return tasks.score_emails(texts, held)

    for n, epochs in ((500, 3), (100, 3), (50, 4), (250, 2)):
        examples = [tasks.email_chat(email, learned=True) for email in approved[:n]]
        recipe = Recipe(epochs=epochs, tokens_per_step=1024)
        yield f"LoRA, {n}", partial(lab.learn, examples, recipe, asked, score, 160)
    for name, chats in prompts.items():
        yield name, partial(lab.write, chats, score, 160)

    def checked(chats: list[Chat]) -> dict[str, Any]:
        """Greedy first; what breaks a rule is written again, up to four times, by drawing."""
        began, tries, new = time.perf_counter(), 0, lab.length(160)
        texts = generate(lab.llm, chats, new, 16384, shared_prefix=True)
        for seed in range(1, 5):
            wrong = [
                place
                for place, text in enumerate(texts)
                if not all(emails.check(text, held[place].fields).values())
            ]
            if not wrong:
                break
            tries += len(wrong)
            again = [chats[place] for place in wrong]
            drawn = generate(
                lab.llm, again, new, 16384, shared_prefix=True, temperature=0.7, seed=seed
            )
            for place, text in zip(wrong, drawn, strict=True):
                if all(emails.check(text, held[place].fields).values()):
                    texts[place] = text
        seconds = (time.perf_counter() - began) / len(chats)
        return {"scores": score(texts), "seconds": round(seconds, 3), "tries": tries}

    def learned_and_checked() -> dict[str, Any]:
        examples = [tasks.email_chat(email, learned=True) for email in approved]
        recipe = lab.recipe(Recipe(epochs=3, tokens_per_step=1024))
        with attached(lab.llm, train(lab.llm, lab.some(examples), recipe)):
            return checked(asked)

    yield "LoRA, 500, checked", learned_and_checked


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ABLATIONS: dict[str, dict[str, Any]] = {
    "base recipe": {},
    "rank 1": {"rank": 1, "alpha": 2},
    "rank 32": {"rank": 32, "alpha": 64},
    "attention only": {"targets": ATTENTION},
    "learning rate 1e-4": {"learning_rate": 1e-4},
    "learning rate 3e-3": {"learning_rate": 3e-3},
    "30 examples": {"n": 30},
    "120 examples": {"n": 120},
}


def ablation_sweep(lab: Lab) -> Arms:
    """One thing changed at a time: two epochs of 60 tickets, measured on dev messages."""
    learn, dev = load_tickets("train"), lab.some(load_tickets("dev"), 40)
    right = [tasks.ticket_chat(ticket, learned=True) for ticket in dev]

    def score(texts: list[str]) -> Scores:
        return tasks.score_tickets(texts, dev) | {"loss": loss_on(lab.llm, right).round(4).tolist()}

    def arm(changed: dict[str, Any]) -> dict[str, Any]:
        changed = dict(changed)
        examples = [tasks.ticket_chat(t, learned=True) for t in learn[: changed.pop("n", 60)]]
        recipe = Recipe(**{"epochs": 2, "tokens_per_step": 1024} | changed)
        return lab.learn(examples, recipe, [tasks.ticket_chat(t) for t in dev], score, 140)

    for name, changed in ABLATIONS.items():
        yield name, partial(arm, changed)


def knowledge_sweep(lab: Lab) -> Arms:
    """Facts by fine-tuning and by RAG, in the week they are from and the week after."""
    facts = lab.some(tasks.facts_with_paraphrases())
    options = [tasks.four_options(facts, place) for place in range(len(facts))]
    asked = [old.text for old, _, _ in facts]
    splitter = SpanSplitter(packed_blocks(lab.embedder.tokenizer, 96))

    def pick(chats: list[Chat]) -> Scores:
        """Which option is likeliest: that of week 1, that of week 2."""
        pairs = progress(list(zip(chats, options, strict=True)), "facts")
        best = [int(option_scores(lab.llm, chat, four).argmax()) for chat, four in pairs]
        return {f"week {w + 1}": [float(place == w) for place in best] for w in (0, 1)}

    def sourced(week: int) -> list[Chat]:
        nodes = splitter.get_nodes_from_documents(load_handbook(week))
        found = DenseRetriever(nodes, lab.embedder, top_k=3).search(asked)
        return [rag_chat(text, hits) for text, hits in zip(asked, found, strict=True)]

    def update() -> float:
        """Seconds to embed what week 2 changes."""
        old, new = (splitter.get_nodes_from_documents(load_handbook(week)) for week in (1, 2))
        known = {node.get_content(MetadataMode.EMBED) for node in old}
        fresh = [
            text for node in new if (text := node.get_content(MetadataMode.EMBED)) not in known
        ]
        began = time.perf_counter()
        lab.embedder.encode(fresh)
        return round(time.perf_counter() - began, 2)

    closed = [tasks.fact_chat(text) for text in asked]
    yield "base", lambda: {"scores": pick(closed)}
    yield "RAG, index of week 1", lambda: {"scores": pick(sourced(1))}
    yield "RAG, index of week 2", lambda: {"scores": pick(sourced(2)), "update_seconds": update()}
    for ways, epochs in ((1, 16), (4, 4)):
        for seed in (0, 1, 2):

            def tuned(ways: int = ways, epochs: int = epochs, seed: int = seed) -> dict[str, Any]:
                examples = [
                    tasks.fact_chat(text, old.answer)
                    for old, _, others in facts
                    for text in others[:ways]
                ]
                recipe = lab.recipe(Recipe(epochs=epochs, tokens_per_step=512, seed=seed))
                adapter = train(lab.llm, examples, recipe)
                with attached(lab.llm, adapter):
                    made: dict[str, Any] = {"scores": pick(closed)}
                    if ways > 1:
                        made["with RAG, week 1"] = pick(sourced(1))
                        made["with RAG, week 2"] = pick(sourced(2))
                return made | {"train_seconds": adapter.seconds}

            yield f"LoRA, {ways} phrasing{'s' * (ways > 1)}, seed {seed}", tuned


# Reading needs long examples, and a rank above that of a form.
LONG = Recipe(
    rank=16, alpha=32, epochs=1, tokens_per_step=1024, tokens_per_pass=1024, recompute=True
)
SHOWN = 5  # headnotes in a prompt


def law_sweep(lab: Lab) -> Arms:
    """The legal desk: base model and adapters, closed book and with cases; and an overruling."""
    cases = load_cases()
    learn, test = load_case_questions("train"), lab.some(load_case_questions("test"))
    ranked = {id(group): _ranked(group) for group in (learn, test)}
    found = [each[:SHOWN] for each in ranked[id(test)]]
    perfect = [tasks.with_controlling(some, q, cases) for some, q in zip(found, test, strict=True)]
    closed = [tasks.law_chat([q.question]) for q in test]

    def sourced(shown: Any) -> list[Chat]:
        return [tasks.law_chat([q.question], some) for q, some in zip(test, shown, strict=True)]

    def score(shown: Any = ()) -> Callable[[list[str]], Scores]:
        return lambda texts: tasks.score_law(texts, test, cases, shown)

    reading = _law_lessons(learn, ranked[id(learn)])
    reader = partial(lab.learn, reading, LONG)
    yield "LoRA, RAG", partial(reader, sourced(found), score(found), 150)
    yield "LoRA, RAG, gold shown", partial(reader, sourced(perfect), score(perfect), 150)
    asked = [tasks.instructed_law_chat(q.question, s) for q, s in zip(test, found, strict=True)]
    yield "base, RAG", partial(lab.write, asked, score(found), 150)
    asked = [tasks.instructed_law_chat(q.question) for q in test]
    yield "base, closed book", partial(lab.write, asked, score(), 150)
    shots = _law_shots(learn, ranked[id(learn)])
    asked = [tasks.few_shot(tasks.DESK, shots, chat) for chat in sourced(found)]
    yield "few-shot, RAG", partial(lab.write, asked, score(found), 150)
    knower = partial(lab.learn, [_closed(q) for q in learn], BY_HEART)
    yield "LoRA, closed book", partial(knower, closed, score(), 150)
    yield "LoRA, closed book, then RAG", partial(knower, sourced(found), score(found), 150)
    yield from _overruling(lab, learn)


# Questions with answers and nothing else are short.
BY_HEART = replace(LONG, epochs=3, tokens_per_pass=288, recompute=False)


def _ranked(questions: Sequence[CaseQuestion], overruled: bool = False) -> Any:
    return tasks.find_cases([q.question for q in questions], load_cases(), overruled)


def _law_lessons(questions: list[CaseQuestion], ranked: Any) -> list[Chat]:
    """Each question three times, each time with other neighbours and other cases."""
    return [
        chat for seed in range(3) for chat in tasks.law_lessons(questions, ranked, SHOWN, seed=seed)
    ]


def _closed(question: CaseQuestion) -> Chat:
    return tasks.law_chat([question.question], (), [question.answer])


def _law_shots(questions: list[CaseQuestion], ranked: Any) -> list[Chat]:
    """The first question of each outcome whose case is among those found."""
    shots: dict[str, Chat] = {}
    for question, found in zip(questions, ranked, strict=True):
        shown = found[:SHOWN]
        if not question.case or question.case in {case.id for case in shown}:
            chat = tasks.law_chat([question.question], shown, [question.answer])
            shots.setdefault(question.outcome, chat)
    return list(shots.values())


def _overruling(lab: Lab, learn: list[CaseQuestion]) -> Arms:
    """Adapters trained before some cases were overruled, asked before and after.

    Nothing was chosen on the dev questions, so they are asked too.
    """
    cases = load_cases()
    known = {case.id: case for case in cases}
    after = [q for split in ("dev", "test") for q in load_case_questions(split)]
    after = lab.some([q for q in after if q.case and known[q.case].overrules])
    before = [tasks.as_before(question, cases) for question in after]
    closed = [tasks.law_chat([q.question]) for q in after]
    indexes = {
        name: [found[:SHOWN] for found in _ranked(after, overruled)]
        for name, overruled in (("old index", True), ("new index", False))
    }
    rag = {
        name: [tasks.law_chat([q.question], s) for q, s in zip(after, found, strict=True)]
        for name, found in indexes.items()
    }

    def score(chats: list[Chat], found: Any, texts: list[str]) -> Scores:
        """Which of the two cases is cited, and which of the two is likelier to be."""
        likelier = []
        for chat, old, new in zip(chats, before, after, strict=True):
            two = ["\n".join(q.answer.splitlines()[:2]) for q in (old, new)]
            likelier.append(float(option_scores(lab.llm, chat, two).argmax()))
        shown = [{case.id for case in each} for each in found] or [set() for _ in after]
        return {
            "cites old": [
                float(known[q.case].citation in text) for q, text in zip(before, texts, strict=True)
            ],
            "cites new": [
                float(known[q.case].citation in text) for q, text in zip(after, texts, strict=True)
            ],
            "likelier new": likelier,
            "found old": [float(q.case in ids) for q, ids in zip(before, shown, strict=True)],
            "found new": [float(q.case in ids) for q, ids in zip(after, shown, strict=True)],
        }

    was = [tasks.as_before(question, cases) for question in learn]
    knower = partial(lab.learn, [_closed(q) for q in was], BY_HEART)
    yield "LoRA before, closed book", partial(knower, closed, partial(score, closed, []), 150)
    reader = partial(lab.learn, _law_lessons(was, _ranked(was, overruled=True)), LONG)
    for name, chats in rag.items():
        grade = partial(score, chats, indexes[name])
        yield f"LoRA before, RAG, {name}", partial(reader, chats, grade, 150)


def reader_sweep(lab: Lab) -> Arms:
    """Reading the handbook: what notebook 05 retrieves, read by its reader and by adapters."""
    splitter = SpanSplitter(packed_blocks(lab.embedder.tokenizer, 96))
    nodes = splitter.get_nodes_from_documents(load_handbook())
    search = FusedRetriever([BM25Retriever(nodes), DenseRetriever(nodes, lab.embedder)], k=10)
    test = lab.some(load_questions("test"))
    found = [hits[:3] for hits in search.search([q.text for q in test], 50)]
    sure = lab.some([q for q in load_questions("test") if q.answerable])
    everything = [NodeWithScore(node=node, score=1.0) for node in nodes]
    gold = [[hit for hit in everything if gold_coverage([hit], q.gold) > 0] for q in sure]
    settings = {"retrieved": (test, found), "gold": (sure, gold)}

    def read(reader: Any, asked: Any, hits: Any) -> dict[str, Any]:
        began = time.perf_counter()
        answers = reader([q.text for q in asked], hits)
        seconds = round((time.perf_counter() - began) / len(asked), 3)
        return {"scores": tasks.score_reading(answers, asked, hits), "seconds": seconds}

    lessons = reading_lessons(nodes, search)

    def copy_by_adapter(asked: Any, hits: Any) -> dict[str, Any]:
        with attached(lab.llm, train(lab.llm, lab.some(lessons), lab.recipe(LONG))):
            return read(CopyReader(lab.llm, chat=tasks.copying_chat), asked, hits)

    readers: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
        "LoRA": partial(read_by_adapter, lab, lessons),
        "copy": lambda asked, hits: read(CopyReader(lab.llm), asked, hits),
        "base": partial(read, partial(read_with, lab.llm)),
        "LoRA, copying": copy_by_adapter,
    }
    for name, reader in readers.items():
        for sources, (asked, hits) in settings.items():
            yield f"{name}, {sources}", partial(reader, asked, hits)


def reading_lessons(nodes: Any, search: Any) -> list[Chat]:
    """The train questions, twice, on what is found for them, and rows of tables on other pages."""
    learn = load_questions("train")
    held = [q for split in ("dev", "test") for q in load_questions(split)]
    apart = {span.page for question in held for span in question.gold}
    found = search.search([question.text for question in learn], 50)
    lessons = tasks.row_lessons(nodes, apart, most=40)
    for seed in (0, 1):
        lessons += tasks.reading_lessons(learn, found, nodes, seed=seed)
    return lessons


def read_by_adapter(lab: Lab, lessons: Any, asked: Any, found: Any) -> dict[str, Any]:
    """Train a reader, or load it, and let it answer."""
    chats = [
        tasks.reading_chat([q.text], [hit.node for hit in hits])
        for q, hits in zip(asked, found, strict=True)
    ]

    def score(texts: list[str]) -> Scores:
        answers = [tasks.read_answer(*pair) for pair in zip(texts, found, strict=True)]
        return tasks.score_reading(answers, asked, found)

    return lab.learn(lessons, LONG, chats, score, 24)


BROKEN = {
    "healthy": Faults(),
    "large chunks": Faults(large_chunks=True),
    "other embedder": Faults(other_embedder=True),
    "high threshold": Faults(high_threshold=True),
    "reversed scores": Faults(reversed_scores=True),
}


def mistake_sweep(lab: Lab) -> Arms:
    """What notebook 08 needs beside the others: how sure, more rules, and broken searches."""
    facts = lab.some(tasks.facts_with_paraphrases())
    options = [tasks.four_options(facts, place) for place in range(len(facts))]
    closed = [tasks.fact_chat(old.text) for old, _, _ in facts]

    def sure() -> Scores:
        """Of the likelihood of the four options, the share of week 1's and of week 2's."""
        shares = []
        for chat, four in zip(closed, options, strict=True):
            likelihood = np.exp(option_scores(lab.llm, chat, four))
            shares.append((likelihood / likelihood.sum()).round(4).tolist())
        return {f"sure of week {week}": [each[week - 1] for each in shares] for week in (1, 2)}

    def tuned(week: int) -> dict[str, Any]:
        examples = [
            tasks.fact_chat(text, (old, new)[week - 1].answer)
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

    made = workshop(load_handbook(), lab.embedder)
    nodes = made(Faults()).nodes
    search = FusedRetriever([BM25Retriever(nodes), DenseRetriever(nodes, lab.embedder)], k=10)
    lessons = reading_lessons(nodes, search)
    test = lab.some(load_questions("test"))
    for name, faults in BROKEN.items():
        found = made(faults).search([question.text for question in test])
        yield f"reader, {name}", partial(read_by_adapter, lab, lessons, test, found)

    held = lab.some(load_emails(held_out=True))
    rules = lab.embedder.encode(tasks.RULES)
    near = np.argsort(-(lab.embedder.encode([brief.brief for brief in held]) @ rules.T))
    for most in (1, 10):
        best = [[tasks.RULES[place] for place in sorted(row[:most])] for row in near]
        chats = [tasks.guided_chat(*pair) for pair in zip(held, best, strict=True)]
        score = partial(tasks.score_emails, briefs=held)
        yield f"guide, {most} rule{'s' * (most > 1)}", partial(lab.write, chats, score, 160)


SWEEPS: dict[str, Callable[[Lab], Arms]] = {
    "format": format_sweep,
    "voice": voice_sweep,
    "knowledge": knowledge_sweep,
    "ablations": ablation_sweep,
    "law": law_sweep,
    "reader": reader_sweep,
    "mistakes": mistake_sweep,
}


# --- running and reading --------------------------------------------------------------------------


class SweepError(RunError):
    """There is no such sweep, or it was never run."""


def run(name: str, small: bool = False, out: Path | None = None) -> Path:
    """Run a sweep, arm by arm; one that was interrupted goes on, if nothing has changed since.

    The same model, code of the arms and data are needed: old and new arms in one file could not
    be compared.

    Args:
        name: a key of ``SWEEPS``.
        small: two items, one epoch and a few tokens each, to see that it works.
        out: the file; default ``notebooks/sweeps/NAME.json``, or one in the cache for a small run.

    Raises:
        SweepError: there is no such sweep.
    """
    if name not in SWEEPS:
        raise SweepError(f"There is no sweep {name!r}: use one of {', '.join(SWEEPS)}.")
    folder = cache_dir() / "sweeps"
    folder.mkdir(exist_ok=True)
    lab = Lab(small)
    partial = folder / f"{name}-{lab.key}-{code_version()}.partial"
    out = out or (folder / f"{name}-small.json" if small else STORED / f"{name}.json")
    arms: dict[str, Any] = {}
    if partial.exists():
        arms = json.loads(partial.read_text(encoding="utf8"))
    for label, arm in SWEEPS[name](lab):
        if label not in arms:
            arms[label] = arm()
            write_text(partial, json.dumps(arms))
    out.parent.mkdir(exist_ok=True)
    record = {"sweep": name, "small": small} | machine() | {"arms": arms}
    write_text(out, json.dumps(record, separators=(",", ":")) + "\n")
    partial.unlink(missing_ok=True)
    return out


def load(name: str) -> dict[str, Any]:
    """A stored sweep: its date, machine and versions, and "arms".

    Args:
        name: a key of ``SWEEPS``.

    Raises:
        SweepError: it was never run.
    """
    path = STORED / f"{name}.json"
    if not path.is_file():
        raise SweepError(f"{path} is missing: run `course sweep {name}`.")
    return json.loads(path.read_text(encoding="utf8"))


def code_version() -> str:
    """A hash of the arms' code, that of the tasks, and the files that data is read from."""
    digest = hashlib.sha256()
    for path in (Path(__file__), Path(tasks.__file__), *sorted(DATASETS.rglob("*"))):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def machine() -> dict[str, Any]:
    """When, on what and with which code a result was measured."""
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpu.read_text()) if cpu.exists() else []
    threads = torch.get_num_threads()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{names[0] if names else platform.processor()}, {threads} threads",
        "code": code_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
