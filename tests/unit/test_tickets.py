"""Reading and scoring a model's ticket, garbage included."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.tasks import tickets

GOLD = {
    "order": "CV-204117",
    "priority": "urgent",
    "problems": [
        {"category": "temperature", "fault": "T+6/42@V"},
        {"category": "damage"},
    ],
    "crib": {"size": 90, "lantern": "L4-10382"},
    "ask": "replace",
}
TEXT = json.dumps(GOLD)
SMALLEST = '{"priority": "low", "problems": [{"category": "billing"}], "ask": "information"}'


@pytest.mark.parametrize("text", [TEXT, SMALLEST, f"  {SMALLEST}\n"])
def test_a_ticket_is_read(text: str) -> None:
    result = tickets.check_ticket(text)
    assert result.valid and result.parsed and not result.error
    assert result.ticket == json.loads(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "not one JSON object"),
        ("Sure! " + TEXT, "not one JSON object"),
        (TEXT + "\nDone.", "not one JSON object"),
        (TEXT[:-1], "not one JSON object"),
        (f"```json\n{TEXT}\n```", "not one JSON object"),
        (TEXT.replace("90", "NaN"), "NaN is no JSON number"),
        ('{"ask": "refund", "ask": "refund"}', "a key stands twice"),
        ("[" * 100_000, "not one JSON object"),
        ('{"order": ' * 50_000, "not one JSON object"),
        (f"[{TEXT}]", "not an object"),
        ("null", "not an object"),
        ("12", "not an object"),
    ],
)
def test_what_is_no_json_object_is_no_ticket(text: str, error: str) -> None:
    result = tickets.check_ticket(text)
    assert not result.parsed and not result.valid
    assert error in result.error


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"ask": "replace"', '"ask": "gift"', "$.ask: 'gift' is not one of"),
        (', "ask": "replace"', "", "'ask' is a required property"),
        ("CV-204117", "204117", "$.order"),
        ("T+6/42@V", "T6/42@V", "$.problems[0].fault"),
        ("90", "80", "$.crib.size"),
        ('"priority"', '"mood": "sour", "priority"', "'mood' was unexpected"),
        (json.dumps(GOLD["problems"]), "[]", "$.problems"),
    ],
)
def test_what_breaks_the_schema_is_told_with_its_place(old: str, new: str, error: str) -> None:
    assert TEXT.count(old) == 1
    result = tickets.check_ticket(TEXT.replace(old, new))
    assert result.parsed and not result.valid
    assert error in result.error


@pytest.mark.parametrize("fence", ["```", "```json"])
def test_fences_are_forgiven_on_request(fence: str) -> None:
    assert tickets.check_ticket(f"\n{fence}\n{TEXT}\n```\n", fences=True).ticket == GOLD
    assert tickets.check_ticket(TEXT, fences=True).valid
    assert not tickets.check_ticket(f"Here:\n{fence}\n{TEXT}\n```", fences=True).parsed


@settings(max_examples=50, deadline=None)
@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_text_raises(text: str) -> None:
    result = tickets.check_ticket(text)
    assert not result.valid
    assert tickets.field_f1(result.ticket, GOLD) == 0


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: {"ask": value, "problems": [value]})
)
def test_any_object_can_be_scored(ticket: dict[str, object]) -> None:
    assert not tickets.check_ticket(json.dumps(ticket)).valid
    assert 0 <= tickets.field_f1(ticket, GOLD) < 1
    assert tickets.same_ticket(ticket, ticket)
    assert tickets.field_f1(ticket, ticket) == 1


def test_the_order_of_keys_does_not_matter_but_that_of_problems_does() -> None:
    backwards = dict(reversed(GOLD.items()))
    assert tickets.same_ticket(backwards, GOLD)
    swapped = GOLD | {"problems": list(reversed(list(GOLD["problems"])))}
    assert not tickets.same_ticket(swapped, GOLD)
    assert not tickets.same_ticket(None, GOLD)
    assert not tickets.same_ticket({}, GOLD)


def test_fields_are_counted_one_by_one() -> None:
    # 8 fields in the right ticket: order, priority, 3 of problems, 2 of crib, ask
    assert tickets.field_f1(GOLD, GOLD) == 1
    assert tickets.field_f1(GOLD | {"ask": "refund"}, GOLD) == 2 * 7 / 16
    fewer = {key: value for key, value in GOLD.items() if key != "crib"}
    assert tickets.field_f1(fewer, GOLD) == 2 * 6 / 14
    assert tickets.field_f1(None, GOLD) == tickets.field_f1({}, GOLD) == 0
    assert tickets.field_f1({"crib": {"size": True}}, {"crib": {"size": 1}}) == 0


def test_many_tickets_are_pooled() -> None:
    small = json.loads(SMALLEST)
    assert tickets.micro_f1([(GOLD, GOLD), (None, small)]) == 2 * 8 / (8 + 8 + 3)
    assert tickets.micro_f1([]) == 0


def test_keys_are_written_in_the_schemas_order() -> None:
    mixed = {
        "ask": "replace",
        "crib": {"lantern": "L4-10382", "size": 90},
        "problems": [{"fault": "T+6/42@V", "category": "temperature"}, {"category": "damage"}],
        "priority": "urgent",
        "order": "CV-204117",
    }
    assert tickets.to_json(mixed) == TEXT
    assert tickets.to_json({"zeal": 1, "ask": "replace"}) == '{"ask": "replace", "zeal": 1}'
