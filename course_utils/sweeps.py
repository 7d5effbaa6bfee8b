"""The larger fine-tuning experiments, too long for a notebook: ``course sweep NAME``.

A sweep is a list of arms. Each arm trains or prompts, and gives one number an item, so that a
notebook can draw intervals and paired differences from the stored file. Arms that are done are
kept when a sweep is interrupted, and so is the training under way.
"""

from __future__ import annotations

import datetime
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
from llama_index.core.schema import MetadataMode

from course_utils import tasks
from course_utils.chunking import SpanSplitter, packed_blocks
from course_utils.corpus import (
    load_emails,
    load_handbook,
    load_tickets,
)
from course_utils.finetuning import Chat, Recipe, attached, loss_on, train
from course_utils.formats import emails
from course_utils.generation import count_tokens, generate, option_scores, rag_chat
from course_utils.models import (
    LanguageModel,
    ModelError,
    cache_dir,
    load_embedder,
    load_generator,
    weights_digest,
)
from course_utils.progress import progress
from course_utils.retrieval import DenseRetriever
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
        recipe = replace(recipe, epochs=1) if self.small else recipe
        adapter = train(self.llm, self.some(examples), recipe)
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
        recipe = Recipe(epochs=1 if lab.small else 3, tokens_per_step=1024)
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
                recipe = Recipe(epochs=1 if lab.small else epochs, tokens_per_step=512, seed=seed)
                adapter = train(lab.llm, examples, recipe)
                with attached(lab.llm, adapter):
                    made: dict[str, Any] = {"scores": pick(closed)}
                    if ways > 1:
                        made["with RAG, week 1"] = pick(sourced(1))
                        made["with RAG, week 2"] = pick(sourced(2))
                return made | {"train_seconds": adapter.seconds}

            yield f"LoRA, {ways} phrasing{'s' * (ways > 1)}, seed {seed}", tuned


SWEEPS: dict[str, Callable[[Lab], Arms]] = {
    "format": format_sweep,
    "voice": voice_sweep,
    "knowledge": knowledge_sweep,
    "ablations": ablation_sweep,
}


# --- running and reading --------------------------------------------------------------------------


class SweepError(RunError):
    """There is no such sweep, or it was never run."""


def run(name: str, small: bool = False, out: Path | None = None) -> Path:
    """Run a sweep, arm by arm; one that was interrupted with the same model goes on.

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
    partial = folder / f"{name}-{lab.key}.partial"
    out = out or (folder / f"{name}-small.json" if small else STORED / f"{name}.json")
    arms: dict[str, Any] = json.loads(partial.read_text()) if partial.exists() else {}
    for label, arm in SWEEPS[name](lab):
        if label not in arms:
            arms[label] = arm()
            whole = partial.with_suffix(".writing")
            whole.write_text(json.dumps(arms))
            whole.replace(partial)
    out.parent.mkdir(exist_ok=True)
    record = {"sweep": name, "small": small} | machine() | {"arms": arms}
    out.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf8")
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


def machine() -> dict[str, Any]:
    """When and on what a result was measured."""
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpu.read_text()) if cpu.exists() else []
    threads = torch.get_num_threads()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{names[0] if names else platform.processor()}, {threads} threads",
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
