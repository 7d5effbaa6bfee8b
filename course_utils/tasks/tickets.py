"""Tickets, the format task: loader, prompts, check, scores. Notebook 06."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema

from course_utils.files import DATASETS, InputError, in_repository
from course_utils.generate.prompting import Chat
from course_utils.search.documents import json_lines
from course_utils.tasks.common import Scores, turns, typed_record

_FOLDER = DATASETS / "tickets"


@cache
def ticket_schema() -> dict[str, Any]:
    """The JSON Schema that a ticket has to fit."""
    return json.loads(in_repository(_FOLDER / "schema.json").read_text(encoding="utf8"))


@cache
def notation() -> str:
    """The page that explains the depot's notation."""
    return in_repository(_FOLDER / "notation.md").read_text(encoding="utf8")


@dataclass(frozen=True)
class Ticket:
    """A customer's message and the ticket it becomes; ``jargon`` when faults need the notation."""

    id: str
    split: str
    message: str
    ticket: dict[str, Any]
    jargon: bool


def load_tickets(split: str | None = None) -> list[Ticket]:
    """The customers' messages with their tickets.

    Args:
        split: "train", "dev" or "test"; all when None.
    """
    lines = json_lines(in_repository(_FOLDER / "tickets.jsonl"))
    tickets = [typed_record(Ticket, record, where) for where, record in lines]
    return [ticket for ticket in tickets if split in (None, ticket.split)]


TICKET = "Turn the customer's message into a ticket, as JSON."


def ticket_chat(ticket: Ticket, learned: bool = False) -> Chat:
    """What the adapter sees: a message below one line, and the ticket when it is to be learned."""
    answer = to_json(ticket.ticket) if learned else None
    return turns("Write the ticket.", ticket.message, answer)


def instructed_chat(ticket: Ticket) -> Chat:
    """The whole page of rules and the schema in front of the message."""
    rules = f"{TICKET} Answer with one JSON object that fits this schema and nothing else."
    return turns(f"{notation()}\n\n{rules}\n\n{json.dumps(ticket_schema())}", ticket.message)


@dataclass(frozen=True)
class TicketCheck:
    """What became of a model's output.

    ``parsed`` when the text is one JSON object and nothing else, ``valid`` when that fits the
    schema; ``error`` says what is wrong, in one sentence, and is empty when nothing is.
    """

    ticket: dict[str, Any] | None
    valid: bool
    error: str = ""

    @property
    def parsed(self) -> bool:
        return self.ticket is not None


def check_ticket(text: str, fences: bool = False) -> TicketCheck:
    """Read a ticket out of a model's output; garbage gives a result, never an exception.

    Args:
        text: the output. Anything before or after the JSON object is an error.
        fences: whether a Markdown code fence around the object is forgiven.
    """
    if fences:
        text = _inside_fence(text)
    try:
        ticket = json.loads(
            text, object_pairs_hook=_no_repeated_key, parse_constant=_no_such_number
        )
    except (ValueError, RecursionError) as error:
        return TicketCheck(None, False, f"The text is not one JSON object: {error}.")
    if not isinstance(ticket, dict):
        return TicketCheck(None, False, "The text is JSON, but not an object.")
    try:
        wrong = next(_validator().iter_errors(ticket), None)
    except RecursionError:
        return TicketCheck(ticket, False, "The object is nested too deeply.")
    if wrong is None:
        return TicketCheck(ticket, True)
    return TicketCheck(ticket, False, f"{wrong.json_path}: {wrong.message[:200]}.")


def same_ticket(ticket: dict[str, Any] | None, gold: dict[str, Any]) -> bool:
    """Whether a ticket says exactly what the right one says, the order of keys aside.

    Args:
        ticket: a ticket; None, for an output that was none, is never right.
        gold: the right ticket.
    """
    return ticket is not None and set(_pairs(ticket)) == set(_pairs(gold))


def field_f1(ticket: dict[str, Any] | None, gold: dict[str, Any]) -> float:
    """F1 over the fields of one ticket; items of a list are compared by position.

    Args:
        ticket: a ticket, or None for an output that was none.
        gold: the right ticket.
    """
    return micro_f1([(ticket, gold)])


def micro_f1(pairs: Iterable[tuple[dict[str, Any] | None, dict[str, Any]]]) -> float:
    """F1 over the fields of many tickets together, so that long tickets count for more.

    Args:
        pairs: (ticket, right ticket).

    Returns:
        2 x fields right / (fields given + fields expected); 0 when there are none at all.
    """
    right = fields = 0
    for ticket, gold in pairs:
        given, expected = set(_pairs(ticket or {})), set(_pairs(gold))
        right += len(given & expected)
        fields += len(given) + len(expected)
    return 2 * right / fields if fields else 0.0


def to_json(ticket: dict[str, Any]) -> str:
    """A ticket as one line of JSON, its keys in the schema's order.

    Args:
        ticket: a ticket that fits the schema.
    """
    return json.dumps(in_schema_order(ticket), ensure_ascii=False)


def in_schema_order(value: Any, schema: dict[str, Any] | None = None) -> Any:
    """The same ticket with every object's keys in the schema's order, unknown ones last.

    Args:
        value: a ticket, or a part of one.
        schema: the schema of that part; the whole ticket's when None.
    """
    schema = _validator().schema if schema is None else schema
    if isinstance(value, list):
        return [in_schema_order(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    names = [name for name in known if name in value] + [
        name for name in value if name not in known
    ]
    return {name: in_schema_order(value[name], known.get(name, {})) for name in names}


@cache
def _validator() -> Any:
    return jsonschema.Draft202012Validator(ticket_schema())


def _pairs(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(path, value) of every leaf; a stack, because a model may nest deeper than Python calls."""
    stack: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    while stack:
        path, part = stack.pop()
        if isinstance(part, dict | list) and part:
            items = part.items() if isinstance(part, dict) else enumerate(part)
            stack.extend(((*path, key), item) for key, item in items)
        elif path:
            # The type stands beside the value, because to Python True is 1.
            leaf = str(part) if isinstance(part, dict | list) else part
            yield path, (isinstance(part, bool), leaf)


def _inside_fence(text: str) -> str:
    lines = text.strip().splitlines()
    fenced = (
        len(lines) > 2 and lines[0].strip() in ("```", "```json") and lines[-1].strip() == "```"
    )
    return "\n".join(lines[1:-1]) if fenced else text


def _no_repeated_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    ticket = dict(pairs)
    if len(ticket) < len(pairs):
        raise InputError("a key stands twice in one object")
    return ticket


def _no_such_number(name: str) -> Any:
    raise InputError(f"{name} is no JSON number")


def score_tickets(texts: Sequence[str], gold: Sequence[Ticket]) -> Scores:
    """Valid, exactly right, and F1 over the fields, of each ticket."""
    checks = [check_ticket(text, fences=True) for text in texts]
    pairs = [(check.ticket, right.ticket) for check, right in zip(checks, gold, strict=True)]
    return {
        "valid": [float(check.valid) for check in checks],
        "exact": [float(same_ticket(*pair)) for pair in pairs],
        "f1": [round(field_f1(*pair), 4) for pair in pairs],
    }
