"""Reading and scoring a legal answer, garbage included."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.tasks import law_form

RULE = "A carrier who promises a day but not an hour is not late before that day ends."
GOLD = f"""Issue: whether a carrier who promised Friday is late at 18:00 on Friday.
Rule: {RULE} Tarn v Ouse Ferries [HB 2017/42].
Application: The carrier promised Friday only, and the crib came at 18:00 that day.
Conclusion: For the carrier."""
OPEN = f"""Issue: whether a carrier that comes a day early may charge for storage.
Rule: {law_form.NO_RULE}
Application: The cases deal only with carriers that come too late.
Conclusion: Open."""
ALL_RIGHT = law_form.LegalAnswerCheck(
    structure=True, case=True, name=True, rule=True, conclusion=True
)


def wrong(text: str, gold: str = GOLD) -> set[str]:
    result = law_form.check_legal_answer(text, gold)
    return {name for name, right in vars(result).items() if not right}


def test_an_answer_is_taken_apart() -> None:
    answer = law_form.parse_legal_answer(GOLD)
    assert answer.rule == RULE
    assert answer.name == "Tarn v Ouse Ferries"
    assert answer.citation == "[HB 2017/42]"
    assert answer.issue.startswith("whether a carrier")
    assert answer.conclusion == "For the carrier."
    assert law_form.parse_legal_answer(OPEN).rule == law_form.NO_RULE
    assert law_form.parse_legal_answer(OPEN).citation == ""


@pytest.mark.parametrize("gold", [GOLD, OPEN])
def test_the_right_answer_is_right_in_all_parts(gold: str) -> None:
    assert law_form.check_legal_answer(gold, gold) == ALL_RIGHT
    assert law_form.check_legal_answer(f"\n  {gold}\n", gold).right
    assert law_form.complaints(gold) == []


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("For the carrier.", "For the claimant.", {"conclusion"}),
        ("For the carrier.", "The carrier wins.", {"conclusion", "structure"}),
        ("HB 2017/42", "HB 2017/43", {"case", "name"}),
        ("HB 2017/42", "HB 2017-42", {"case", "name", "structure"}),
        ("[HB 2017/42]", "(HB 2017/42)", {"case", "name", "structure"}),
        ("Tarn v Ouse", "Ouse v Tarn", {"name"}),
        ("Tarn v Ouse Ferries ", "", {"name", "structure"}),
        ("A carrier who promises", "Whoever promises", {"rule"}),
        ("Friday only", "Friday only [HC 1991/104]", {"case"}),
        ("Issue: whether", "Issue: is it so that", {"structure"}),
        ("Issue: whether", "Issue: whether" + " really" * 20, {"structure"}),
        ("Application: ", "Application: " + "so " * 40, {"structure"}),
        ("Issue: whether", "Here it is:\nIssue: whether", {"structure"}),
        ("Application: The carrier", "Application:\nThe carrier", {"structure"}),
    ],
)
def test_a_wrong_part_is_told_from_the_right_ones(old: str, new: str, parts: set[str]) -> None:
    assert GOLD.count(old) == 1
    assert wrong(GOLD.replace(old, new)) == parts


def test_an_open_question_wants_no_case() -> None:
    assert wrong(GOLD, OPEN) == {"case", "name", "rule", "conclusion"}
    assert wrong(OPEN, GOLD) == {"case", "name", "rule", "conclusion"}
    assert "structure" in wrong(OPEN.replace("Open.", "For the carrier."), OPEN)
    assert "structure" in wrong(GOLD.replace("For the carrier.", "Open."))


def test_lines_in_another_order_are_no_answer_but_keep_their_law() -> None:
    lines = GOLD.splitlines()
    assert wrong("\n".join(reversed(lines))) == {"structure"}
    assert wrong("\n".join(lines[1:])) == {"structure"}
    assert "is not four lines" in law_form.complaints("\n".join([*lines, lines[3]]))[0]


@pytest.mark.parametrize(
    "text", ["", ":", "Rule:", "Issue\nRule\nApplication\nConclusion", "[HB 2017/42]"]
)
def test_garbage_is_wrong_and_nothing_worse(text: str) -> None:
    assert not law_form.check_legal_answer(text, GOLD).right
    assert law_form.complaints(text)


@settings(max_examples=50, deadline=None)
@given(st.text(), st.sampled_from(law_form.LABELS))
def test_no_text_raises(text: str, label: str) -> None:
    for answer in (text, f"{label}: {text}"):
        result = law_form.check_legal_answer(answer, GOLD)
        assert not result.structure and not result.right
