"""What the fine-tuning notebooks ask of a model: the chats of each task, and how answers score.

Tickets are a format, e-mails a voice, facts are knowledge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from course_utils.corpus import DATASETS, EmailBrief, Question, Ticket, load_questions
from course_utils.formats import emails, tickets
from course_utils.generation import Chat

SCHEMA: dict[str, Any] = json.loads(tickets.SCHEMA.read_text(encoding="utf8"))
NOTATION = (DATASETS / "tickets" / "notation.md").read_text(encoding="utf8")
GUIDE = (DATASETS / "emails" / "style_guide.md").read_text(encoding="utf8")
Scores = dict[str, list[float]]


def turns(system: str, user: str, answer: str | None = None) -> Chat:
    """A chat of one question, with its answer when there is one to learn from."""
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return chat if answer is None else [*chat, {"role": "assistant", "content": answer}]


# --- tickets --------------------------------------------------------------------------------------

TICKET = "Turn the customer's message into a ticket, as JSON."


def ticket_chat(ticket: Ticket, learned: bool = False) -> Chat:
    """What the adapter sees: a message below one line, and the ticket when it is to be learned."""
    answer = tickets.to_json(ticket.ticket) if learned else None
    return turns("Write the ticket.", ticket.message, answer)


def instructed_chat(ticket: Ticket) -> Chat:
    """The whole page of rules and the schema in front of the message."""
    rules = f"{TICKET} Answer with one JSON object that fits this schema and nothing else."
    return turns(f"{NOTATION}\n\n{rules}\n\n{json.dumps(SCHEMA)}", ticket.message)


def few_shot(system: str, shots: Sequence[Chat], asked: Chat) -> Chat:
    """Examples as earlier turns of the same chat."""
    earlier = [message for shot in shots for message in shot[1:]]
    return [{"role": "system", "content": system}, *earlier, *asked[1:]]


def score_tickets(texts: Sequence[str], gold: Sequence[Ticket]) -> Scores:
    """Valid, exactly right, and F1 over the fields, of each ticket."""
    checks = [tickets.check(text, fences=True) for text in texts]
    pairs = [(check.ticket, right.ticket) for check, right in zip(checks, gold, strict=True)]
    return {
        "valid": [float(check.valid) for check in checks],
        "exact": [float(tickets.exact_match(*pair)) for pair in pairs],
        "f1": [round(tickets.field_f1(*pair), 4) for pair in pairs],
    }


# --- e-mails --------------------------------------------------------------------------------------

EMAIL = "Write the e-mail to the customer from these notes."
RULES = re.findall(r"(?m)^\d+\. .+$", GUIDE)


def email_chat(brief: EmailBrief, learned: bool = False) -> Chat:
    """What the adapter sees: a brief below one line, and the e-mail when it is to be learned."""
    return turns("Write the e-mail.", brief.brief, brief.email if learned else None)


def guided_chat(brief: EmailBrief, rules: Sequence[str]) -> Chat:
    """The rules of the style guide in front of the brief."""
    lines = "\n".join(rules)
    return turns("Write e-mails that keep all the rules.", f"{EMAIL}\n\n{lines}\n\n{brief.brief}")


def score_emails(texts: Sequence[str], briefs: Sequence[EmailBrief]) -> Scores:
    """Each rule, all of them, their share, and the brief's facts, of each e-mail."""
    pairs = list(zip(texts, briefs, strict=True))
    kept = [emails.check(text, brief.fields) for text, brief in pairs]
    carried = [emails.carries(text, brief.must) for text, brief in pairs]
    return {
        "rules": [float(np.mean(list(each.values()))) for each in kept],
        "all rules": [float(all(each.values())) for each in kept],
        "facts": [round(float(np.mean(each)), 4) for each in carried],
        "all facts": [float(all(each)) for each in carried],
        **{rule: [float(each[rule]) for each in kept] for rule in emails.RULES},
    }


# --- knowledge ------------------------------------------------------------------------------------


def fact_chat(question: str, answer: str | None = None) -> Chat:
    """A question without sources."""
    return turns("Answer in a few words.", question, answer)


def facts_with_paraphrases() -> list[tuple[Question, Question, list[str]]]:
    """The facts that change: as of week 1, as of week 2, and four other ways to ask."""
    text = (DATASETS / "handbook" / "paraphrases.yaml").read_text(encoding="utf8")
    weeks = [{q.id: q for q in load_questions(kind="changed", week=week)} for week in (1, 2)]
    return [(weeks[0][i], weeks[1][i], asked) for i, asked in yaml.safe_load(text).items()]


def four_options(facts: Sequence[tuple[Question, Question, Any]], place: int) -> list[str]:
    """The answer of week 1, that of week 2, and two of other facts, of the same form if possible.

    "20 minutes" stands beside other minutes, a date beside dates.
    """
    old, new, _ = facts[place]
    others = [*facts[place + 1 :], *facts[:place]]
    answers = dict.fromkeys(q.answer for one, two, _ in others for q in (one, two))
    wrong = [answer for answer in answers if answer not in (old.answer, new.answer)]
    form = _form(old.answer)
    wrong.sort(key=lambda a: (_form(a) != form, _form(a).startswith("0") != form.startswith("0")))
    return [old.answer, new.answer, *wrong[:2]]


def _form(answer: str) -> str:
    return re.sub(r"[A-Z]\w+", "Name", re.sub(r"\d+([,.]\d+)?", "0", answer))
