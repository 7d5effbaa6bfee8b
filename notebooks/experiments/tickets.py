"""Tickets: prompts against adapters, the learning curve, ablations."""

from __future__ import annotations

from functools import partial
from typing import Any

from course_utils.tasks import common, tickets
from course_utils.tasks.common import Scores
from course_utils.tasks.tickets import load_tickets
from course_utils.tune.losses import loss_on
from course_utils.tune.recipes import Recipe
from notebooks.experiments.bench import Arms, Bench


def format_experiment(lab: Bench) -> Arms:
    """Tickets: prompts against adapters, and the learning curve, on the test messages."""
    learn, test = load_tickets("train"), lab.some(load_tickets("test"))
    shots = [tickets.ticket_chat(ticket, learned=True) for ticket in learn[:8]]
    asked = [tickets.ticket_chat(ticket) for ticket in test]
    prompts = {
        "zero-shot": [common.turns(tickets.TICKET, ticket.message) for ticket in test],
        "instructions": [tickets.instructed_chat(ticket) for ticket in test],
        "few-shot": [common.few_shot(tickets.TICKET, shots, chat) for chat in asked],
        "few-shot, four": [common.few_shot(tickets.TICKET, shots[:4], chat) for chat in asked],
    }

    def score(texts: list[str]) -> Scores:
        return tickets.score_tickets(texts, test)

    for name, chats in prompts.items():
        yield name, partial(lab.write, chats, score, 140)
    for name in ("few-shot", "few-shot, four"):
        constrained = partial(lab.write, prompts[name], score, 140, schema=tickets.ticket_schema())
        yield f"{name}, constrained", constrained
    recipe = Recipe(rank=32, alpha=64, epochs=4, tokens_per_step=1024)
    for n in (50, 100, 400):
        examples = [tickets.ticket_chat(ticket, learned=True) for ticket in learn[:n]]
        yield f"LoRA, {n}", partial(lab.learn, examples, recipe, asked, score, 140)
    valid = partial(lab.learn, examples, recipe, asked, score, 140, schema=tickets.ticket_schema())
    yield "LoRA, 400, constrained", valid


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


def ablation_experiment(lab: Bench) -> Arms:
    """One thing changed at a time: two epochs of 60 tickets, measured on dev messages."""
    learn, dev = load_tickets("train"), lab.some(load_tickets("dev"), 40)
    right = [tickets.ticket_chat(ticket, learned=True) for ticket in dev]

    def score(texts: list[str]) -> Scores:
        return tickets.score_tickets(texts, dev) | {
            "loss": loss_on(lab.llm, right).round(4).tolist()
        }

    def arm(changed: dict[str, Any]) -> dict[str, Any]:
        changed = dict(changed)
        examples = [tickets.ticket_chat(t, learned=True) for t in learn[: changed.pop("n", 60)]]
        recipe = Recipe(**{"epochs": 2, "tokens_per_step": 1024} | changed)
        return lab.learn(examples, recipe, [tickets.ticket_chat(t) for t in dev], score, 140)

    for name, changed in ABLATIONS.items():
        yield name, partial(arm, changed)
