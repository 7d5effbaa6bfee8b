"""What prompting, RAG, LoRA and both together cost, and what moves that.

The rules of an answer (instructions, style guide, examples) stand in the prompt, or training puts
them into the weights. Its facts come from an index, or there are none::

                      without an index    with an index
    rules in prompt   prompting           RAG
    rules in weights  LoRA                hybrid

So prompting is compared with LoRA, and RAG with hybrid: the two in a row do not do the same job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from course_utils.files import InputError

EXAMPLES = Path(__file__).with_name("costs.yaml")
PAIRS = (("prompting", "LoRA"), ("RAG", "hybrid"))
MAY_BE_ZERO = (
    *("queries_per_month", "rules_tokens", "context_tokens", "document_tokens", "changed_tokens"),
    *("training_tokens", "retrainings_per_year", "embedding_price", "index_rent", "adapter_rent"),
    *("prompting_hours", "rag_hours", "lora_hours"),
    *("prompting_upkeep", "rag_upkeep", "lora_upkeep"),
)


class CostError(InputError):
    """An input of the cost model is missing or impossible; the message says which."""


@dataclass(frozen=True)
class Inputs:
    """Everything the cost model reads; ``costs.yaml`` says what each is and where it is from.

    Token prices are for a million tokens, rents and upkeep (hours of work) for a month.
    """

    queries_per_month: float
    months: float
    question_tokens: float
    answer_tokens: float
    rules_tokens: float
    context_tokens: float
    document_tokens: float
    changed_tokens: float
    training_tokens: float
    retrainings_per_year: float
    input_price: float
    output_price: float
    tuned_input_price: float
    tuned_output_price: float
    embedding_price: float
    training_price: float
    index_rent: float
    adapter_rent: float
    hour_price: float
    prompting_hours: float
    rag_hours: float
    lora_hours: float
    prompting_upkeep: float
    rag_upkeep: float
    lora_upkeep: float
    embedding_speed: float
    training_speed: float

    def __post_init__(self) -> None:
        for field in fields(self):
            _require_amount(field.name, getattr(self, field.name))


@dataclass(frozen=True)
class Cost:
    """One approach: money once, for a query and for a month, and hours until the first result."""

    setup: float
    per_query: float
    update: float
    maintenance: float
    first_result: float

    def total(self, queries_per_month: float, months: float) -> float:
        """What it costs over a time, set-up included."""
        return self.setup + months * (
            queries_per_month * self.per_query + self.update + self.maintenance
        )


@dataclass(frozen=True)
class TippingPoint:
    """The value of one input at which two approaches cost the same, all others as they are.

    ``factor`` is that value over today's: the nearer to 1, the less it takes.
    """

    input: str
    now: float
    then: float
    factor: float


@lru_cache
def example_inputs() -> dict[str, dict[str, Any]]:
    """Each input's example: its value, unit, words, and where the value is from."""
    return yaml.safe_load(EXAMPLES.read_text(encoding="utf8"))["inputs"]


def prices_dated() -> str:
    """When the example prices were written down."""
    return str(yaml.safe_load(EXAMPLES.read_text(encoding="utf8"))["dated"])


def read_inputs(given: Mapping[str, Any] | None = None) -> Inputs:
    """The examples, with what is given in their place.

    Args:
        given: input to number, or to text as it was typed.

    Raises:
        CostError: an unknown input, or a value that cannot be.
    """
    values = {name: each["value"] for name, each in example_inputs().items()} | dict(given or {})
    known = [field.name for field in fields(Inputs)]
    for name in values:
        if name not in known:
            raise CostError(f"There is no input {name!r}; there are {', '.join(known)}.")
    for name in known:
        if name not in values:
            raise CostError(f"{name} is missing.")
    return Inputs(**{name: _number(name, value) for name, value in values.items()})


def approach_costs(inputs: Inputs) -> dict[str, Cost]:
    """The four approaches, each as its five numbers."""
    prompting, rag = _prompted_costs(inputs)
    lora, hybrid = _tuned_costs(inputs)
    return {"prompting": prompting, "RAG": rag, "LoRA": lora, "hybrid": hybrid}


def _prompted_costs(i: Inputs) -> tuple[Cost, Cost]:
    """Rules in the prompt: without an index, and with one."""
    indexing, searching, update, index_hours = _index_costs(i)
    prices = i.input_price, i.output_price
    found = i.question_tokens + i.context_tokens
    return Cost(
        setup=_work(i, i.prompting_hours),
        per_query=_query(i, i.question_tokens + i.rules_tokens, prices),
        update=0.0,
        maintenance=_work(i, i.prompting_upkeep),
        first_result=i.prompting_hours,
    ), Cost(
        setup=_work(i, i.prompting_hours, i.rag_hours) + indexing,
        per_query=_query(i, found + i.rules_tokens, prices) + searching,
        update=update,
        maintenance=_work(i, i.prompting_upkeep, i.rag_upkeep) + i.index_rent,
        first_result=i.prompting_hours + index_hours,
    )


def _tuned_costs(i: Inputs) -> tuple[Cost, Cost]:
    """Rules in the weights: without an index, and with one."""
    indexing, searching, update, index_hours = _index_costs(i)
    prices = i.tuned_input_price, i.tuned_output_price
    training = i.training_tokens * i.training_price / 1e6
    retraining = training * i.retrainings_per_year / 12
    train_hours = i.lora_hours + i.training_tokens / i.training_speed / 3600
    rents = i.adapter_rent + i.index_rent
    return Cost(
        setup=_work(i, i.lora_hours) + training,
        per_query=_query(i, i.question_tokens, prices),
        update=retraining,
        maintenance=_work(i, i.lora_upkeep) + i.adapter_rent,
        first_result=train_hours,
    ), Cost(
        setup=_work(i, i.lora_hours, i.rag_hours) + training + indexing,
        per_query=_query(i, i.question_tokens + i.context_tokens, prices) + searching,
        update=update + retraining,
        maintenance=_work(i, i.lora_upkeep, i.rag_upkeep) + rents,
        first_result=index_hours + train_hours,
    )


def _index_costs(i: Inputs) -> tuple[float, float, float, float]:
    """Money to build the index, for a search, for a month's changes; hours to build it."""
    price = i.embedding_price / 1e6
    hours = i.rag_hours + i.document_tokens / i.embedding_speed / 3600
    return i.document_tokens * price, i.question_tokens * price, i.changed_tokens * price, hours


def _query(i: Inputs, prompt_tokens: float, prices: tuple[float, float]) -> float:
    return (prompt_tokens * prices[0] + i.answer_tokens * prices[1]) / 1e6


def _work(i: Inputs, *hours: float) -> float:
    return sum(hours) * i.hour_price


def break_even(one: Cost, other: Cost, months: float) -> float:
    """The queries a month above which ``other`` costs less than ``one``.

    Both totals are straight lines over the volume, so there is one crossing at most.

    Args:
        one: dearer for a query, as a rule.
        other: dearer to begin with.
        months: over which the set-up has to pay.

    Returns:
        0 when it costs less at any volume, infinity when there is no such volume.
    """
    saved = months * (one.per_query - other.per_query)
    extra = other.total(0, months) - one.total(0, months)
    if saved > 0:
        return max(extra / saved, 0.0)
    return 0.0 if saved == 0 and extra < 0 else math.inf


def simulate(cost: Cost, queries_per_month: int, months: int) -> float:
    """The same total, paid month by month and query by query: what checks the formula."""
    paid = cost.setup
    for _ in range(months):
        paid += float(np.full(queries_per_month, cost.per_query).sum())
        paid += cost.update
        paid += cost.maintenance
    return paid


def cheaper(inputs: Inputs, pair: tuple[str, str]) -> str:
    """Which of two approaches costs less over the whole time; the first when they cost the same."""
    return pair[0] if _difference(inputs, pair) <= 0 else pair[1]


def tipping_points(inputs: Inputs, pair: tuple[str, str]) -> list[TippingPoint]:
    """For each input the value at which the cheaper of two approaches changes, the nearest first.

    The difference of the two totals is a straight line over any one input, so two points of the
    line give its zero exactly. Inputs that cannot turn the decision are left out.
    """
    found = []
    here = _difference(inputs, pair)
    for field in fields(Inputs):
        now = getattr(inputs, field.name)
        if now == 0:
            continue
        there = _difference(replace(inputs, **{field.name: 2 * now}), pair)
        slope = (there - here) / now
        then = now - here / slope if abs(there - here) > 1e-9 * abs(here) else math.inf
        if 0 < then < math.inf:
            found.append(TippingPoint(field.name, now, then, then / now))
    return sorted(found, key=lambda each: abs(math.log(each.factor)))


def costs_markdown(inputs: Inputs) -> str:
    """The cost model's table, break-even volumes and nearest tipping points, in Markdown."""
    made = approach_costs(inputs)
    rows = [
        ("Set-up, USD", [f"{cost.setup:,.0f}" for cost in made.values()]),
        ("A thousand queries, USD", [f"{1000 * cost.per_query:.3g}" for cost in made.values()]),
        ("Updates, USD a month", [f"{readable(cost.update)}" for cost in made.values()]),
        ("Maintenance, USD a month", [f"{cost.maintenance:,.0f}" for cost in made.values()]),
        ("First result, hours", [f"{cost.first_result:,.0f}" for cost in made.values()]),
        (
            f"All of {inputs.months:g} months, USD",
            [f"{c.total(inputs.queries_per_month, inputs.months):,.0f}" for c in made.values()],
        ),
    ]
    table = "\n".join(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)
    head = f"| | {' | '.join(made)} |\n|---|{'---|' * len(made)}\n"
    told = [f"- {pair_text(inputs, pair)}" for pair in PAIRS]
    dated = f"Prices left as they came are examples of {prices_dated()}: replace them."
    return "\n\n".join((head + table, "\n".join(told), dated))


def pair_text(inputs: Inputs, pair: tuple[str, str]) -> str:
    """Which of two approaches is cheaper, from which volume on, and what would turn it."""
    made = approach_costs(inputs)
    volume = break_even(made[pair[0]], made[pair[1]], inputs.months)
    if volume == 0:
        when = f"{pair[1]} costs less than {pair[0]} at any volume"
    elif volume == math.inf:
        when = f"there is no volume from which on {pair[1]} costs less than {pair[0]}"
    else:
        when = f"{pair[1]} costs less than {pair[0]} from {volume:,.0f} queries a month on"
    tips = tipping_points(inputs, pair)[:3]
    turn = "; ".join(f"{t.input} at {readable(t.then)} instead of {readable(t.now)}" for t in tips)
    now = f"At {inputs.queries_per_month:,.0f} a month, {cheaper(inputs, pair)} is the cheaper one."
    return f"{when[0].upper()}{when[1:]}. {now} It would turn with {turn or 'no single input'}."


def readable(value: float) -> str:
    """A number as one reads it: 1,250,000 or 0.44."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _difference(inputs: Inputs, pair: tuple[str, str]) -> float:
    made = approach_costs(inputs)
    one, other = (made[name].total(inputs.queries_per_month, inputs.months) for name in pair)
    return one - other


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        if value in ("", None):
            raise CostError(f"{name} is missing.") from None
        raise CostError(f"{name} must be a number such as 1200 or 0.4, not {value!r}.") from None


def _require_amount(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value) or value > 1e15:
        raise CostError(f"{name} must be a finite number; it is {value}.")
    if value < 0:
        raise CostError(f"{name} is {value:g}; it cannot be negative.")
    if value == 0 and name not in MAY_BE_ZERO:
        why = "nothing is free: put in what it costs you" if "price" in name else "put in more"
        raise CostError(f"{name} is 0; it must be more than zero ({why}).")
