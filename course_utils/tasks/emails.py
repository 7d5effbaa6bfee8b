"""E-mails, the voice task: loader, prompts, scores. Notebook 06.

The rules themselves are in ``email_rules``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from course_utils.files import DATASETS, in_repository
from course_utils.generate.prompting import Chat
from course_utils.search.documents import json_lines, required_text
from course_utils.tasks.common import Scores, turns, typed_record
from course_utils.tasks.email_rules import EMAIL_RULES, carries, check_email, parse_brief

_FOLDER = DATASETS / "emails"


@cache
def style_guide() -> str:
    """The house's style guide, in Markdown."""
    return in_repository(_FOLDER / "style_guide.md").read_text(encoding="utf8")


@cache
def guide_rules() -> tuple[str, ...]:
    """The guide's numbered rules, one line each."""
    return tuple(re.findall(r"(?m)^\d+\. .+$", style_guide()))


@dataclass(frozen=True)
class EmailBrief:
    """A brief, the facts that a faithful e-mail must carry, and the approved e-mail.

    ``brief`` is the text that a model sees, ``fields`` the same taken apart (customer, order,
    facts, next, agent). ``email`` is empty in held-out briefs.
    """

    id: str
    situation: str
    brief: str
    fields: dict[str, str]
    must: tuple[str, ...]
    email: str = ""


def load_emails(held_out: bool = False) -> list[EmailBrief]:
    """The approved e-mails with their briefs, or the held-out briefs.

    Args:
        held_out: the 100 briefs without an e-mail instead of the 500 with one.
    """
    name = "held_out.jsonl" if held_out else "approved.jsonl"
    return [
        typed_record(
            EmailBrief,
            record
            | {
                "fields": parse_brief(required_text(record, "brief", where)),
                "must": tuple(record.get("must", ())),
            },
            where,
        )
        for where, record in json_lines(in_repository(_FOLDER / name))
    ]


EMAIL = "Write the e-mail to the customer from these notes."


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
    kept = [check_email(text, brief.fields) for text, brief in pairs]
    carried = [carries(text, brief.must) for text, brief in pairs]
    return {
        "rules": [float(np.mean(list(each.values()))) for each in kept],
        "all rules": [float(all(each.values())) for each in kept],
        "facts": [round(float(np.mean(each)), 4) for each in carried],
        "all facts": [float(all(each)) for each in carried],
        **{rule: [float(each[rule]) for each in kept] for rule in EMAIL_RULES},
    }
