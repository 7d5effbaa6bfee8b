"""The cost model: its numbers by hand, its formula against simulation, its sentences."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.decision import costs
from course_utils.decision.costs import (
    PAIRS,
    Cost,
    CostError,
    Inputs,
    break_even,
    read_inputs,
    simulate,
)
from course_utils.files import NOTEBOOKS

money = st.floats(0, 1e4)
cost = st.builds(
    Cost,
    setup=money,
    per_query=st.floats(1e-4, 1),
    update=money,
    maintenance=money,
    first_result=money,
)
months = st.integers(1, 36)


def plain(**given: float) -> Inputs:
    """Round numbers, so that a reader can follow every sum."""
    values = {field.name: 0.0 for field in fields(Inputs)}
    values |= {name: 1.0 for name in values if name.endswith(("_price", "_speed"))}
    values |= {"months": 10.0, "question_tokens": 100.0, "answer_tokens": 200.0}
    return Inputs(**(values | given))


def test_a_query_by_hand() -> None:
    made = costs.approach_costs(
        plain(
            rules_tokens=1000,
            context_tokens=300,
            input_price=2,
            output_price=5,
            tuned_input_price=3,
            tuned_output_price=7,
            embedding_price=10,
        )
    )
    assert made["prompting"].per_query == pytest.approx((1100 * 2 + 200 * 5) / 1e6)
    assert made["RAG"].per_query == pytest.approx((1400 * 2 + 200 * 5 + 100 * 10) / 1e6)
    assert made["LoRA"].per_query == pytest.approx((100 * 3 + 200 * 7) / 1e6)
    assert made["hybrid"].per_query == pytest.approx((400 * 3 + 200 * 7 + 100 * 10) / 1e6)


def test_the_other_rows_by_hand() -> None:
    made = costs.approach_costs(
        plain(
            document_tokens=7_200_000,
            changed_tokens=500_000,
            training_tokens=3_600_000,
            retrainings_per_year=6,
            embedding_price=2,
            training_price=4,
            index_rent=30,
            adapter_rent=50,
            hour_price=100,
            prompting_hours=1,
            rag_hours=2,
            lora_hours=3,
            prompting_upkeep=0.1,
            rag_upkeep=0.2,
            lora_upkeep=0.3,
            embedding_speed=1000,
            training_speed=500,
        )
    )
    setups = {name: each.setup for name, each in made.items()}
    train, index = 3.6 * 4, 7.2 * 2
    assert setups == pytest.approx(
        {
            "prompting": 100,
            "RAG": 300 + index,
            "LoRA": 300 + train,
            "hybrid": 500 + index + train,
        }
    )
    assert [each.update for each in made.values()] == pytest.approx(
        [0, 1, train / 2, 1 + train / 2]
    )
    assert [each.maintenance for each in made.values()] == pytest.approx([10, 60, 80, 130])
    assert [each.first_result for each in made.values()] == pytest.approx([1, 5, 5, 9])


@given(one=cost, other=cost, months=months)
@settings(max_examples=200, deadline=None)
def test_the_break_even_is_where_simulated_totals_cross(
    one: Cost, other: Cost, months: int
) -> None:
    volume = break_even(one, other, months)
    least = 1e-6 * (simulate(one, 0, months) + simulate(other, 0, months) + 1)

    def gain(queries: float) -> float:
        return simulate(one, int(queries), months) - simulate(other, int(queries), months)

    if volume == math.inf:  # from some volume on the first is the cheaper one, or they are equal
        back = break_even(other, one, months)
        assert back == math.inf or back > 10**6 or gain(back + 1) <= least
    elif volume < 10**6:
        assert gain(volume + 1) >= -least
        assert volume < 1 or gain(volume) <= least


@given(one=cost, other=cost, months=months, volume=st.integers(0, 10**4))
def test_the_total_is_what_the_simulation_pays(
    one: Cost, other: Cost, months: int, volume: int
) -> None:
    assert one.total(volume, months) == pytest.approx(simulate(one, volume, months))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 3), (10, 1), 0.5),  # ten months
        ((10, 1), (0, 1), 0),
        ((10, 2), (0, 1), 0),
        ((0, 1), (10, 2), math.inf),
        ((0, 1), (0, 1), math.inf),
        ((10, 1), (0, 2), math.inf),  # cheaper at first, never for good
    ],
)
def test_break_even_at_its_ends(
    one: tuple[float, float], other: tuple[float, float], expected: float
) -> None:
    pair = [Cost(setup, query, 0, 0, 0) for setup, query in (one, other)]
    assert break_even(pair[0], pair[1], 10) == expected


@pytest.mark.parametrize("pair", PAIRS)
def test_at_a_tipping_point_both_cost_the_same_and_beyond_it_the_other_is_cheaper(
    pair: tuple[str, str],
) -> None:
    inputs = read_inputs()
    tips = costs.tipping_points(inputs, pair)
    assert tips
    for tip in tips:
        there = replace(inputs, **{tip.input: tip.then})
        one, other = (
            costs.approach_costs(there)[name].total(there.queries_per_month, there.months)
            for name in pair
        )
        assert one == pytest.approx(other)
        beyond = tip.then * (1.01 if tip.factor > 1 else 0.99)
        turned = costs.cheaper(replace(inputs, **{tip.input: beyond}), pair)
        assert turned != costs.cheaper(inputs, pair)
        before = tip.now * tip.factor**0.9
        kept = costs.cheaper(replace(inputs, **{tip.input: before}), pair)
        assert kept == costs.cheaper(inputs, pair)
    assert [abs(math.log(t.factor)) for t in tips] == sorted(abs(math.log(t.factor)) for t in tips)


def test_inputs_without_a_tipping_point_cannot_turn_the_decision() -> None:
    inputs, pair = read_inputs(), PAIRS[0]
    tipping = {tip.input for tip in costs.tipping_points(inputs, pair)}
    for field in fields(Inputs):
        if field.name not in tipping:
            for factor in (1e-3, 0.1, 10, 1e3):
                changed = replace(inputs, **{field.name: getattr(inputs, field.name) * factor})
                assert costs.cheaper(changed, pair) == costs.cheaper(inputs, pair), field.name


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"queries_per_month": -5}, "queries_per_month is -5; it cannot be negative."),
        ({"input_price": 0}, "input_price is 0; it must be more than zero (nothing is free"),
        ({"months": 0}, "months is 0; it must be more than zero"),
        ({"answer_tokens": None}, "answer_tokens is missing."),
        ({"answer_tokens": ""}, "answer_tokens is missing."),
        (
            {"answer_tokens": "many"},
            "answer_tokens must be a number such as 1200 or 0.4",
        ),
        ({"input_price": "0,4"}, "input_price must be a number such as 1200 or 0.4, not '0,4'"),
        ({"hour_price": True}, "hour_price must be a number"),
        ({"hour_price": [1]}, "hour_price must be a number"),
        ({"hour_price": "nan"}, "hour_price must be a finite number"),
        ({"hour_price": "inf"}, "hour_price must be a finite number"),
        ({"querries": 3}, "There is no input 'querries'; there are queries_per_month"),
    ],
)
def test_bad_input_gets_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CostError) as caught:
        read_inputs(given)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_field_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "example_inputs", lambda: {"months": {"value": 1}})
    with pytest.raises(CostError, match=r"^queries_per_month is missing\.$"):
        read_inputs({})


def test_typed_text_is_read_as_numbers() -> None:
    made = read_inputs({"queries_per_month": " 1e6 ", "input_price": "0.25"})
    assert (made.queries_per_month, made.input_price) == (1e6, 0.25)


def test_every_example_is_explained_and_its_prices_are_dated() -> None:
    known = [field.name for field in fields(Inputs)]
    assert list(costs.example_inputs()) == known
    for each in costs.example_inputs().values():
        assert each["unit"] and each["about"]
        assert each["from"] == "example" or each["from"].startswith("measured ")
    assert costs.prices_dated()[:3] == "202" and costs.prices_dated() in costs.costs_markdown(
        read_inputs()
    )


def test_what_is_said_to_be_measured_names_a_cell_of_the_notebook() -> None:
    notebook = json.loads((NOTEBOOKS / "09_decide_and_budget.ipynb").read_text(encoding="utf8"))
    cells = {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}
    for each in costs.example_inputs().values():
        if each["from"] != "example":
            assert "print(" in cells[each["from"].removeprefix("measured ")]


def test_the_text_says_which_is_cheaper_and_from_when_on() -> None:
    inputs = read_inputs()
    assert "LoRA costs less than prompting from" in costs.pair_text(inputs, PAIRS[0])
    short = replace(inputs, rules_tokens=10)
    assert "There is no volume from which on LoRA" in costs.pair_text(short, PAIRS[0])
    free = replace(inputs, lora_hours=0, lora_upkeep=0, adapter_rent=0, retrainings_per_year=0)
    assert "LoRA costs less than prompting at any volume" in costs.pair_text(free, PAIRS[0])
