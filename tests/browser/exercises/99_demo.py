"""Small exercises of every kind, for tests."""

from __future__ import annotations

from typing import Any


def names() -> dict[str, Any]:
    return {"total": 12}


def prediction_solution(ns: Any) -> tuple[str, str]:
    return ("odd" if ns.total % 2 else "even"), f"The total is {ns.total}."


def choice_solution(ns: Any) -> str:
    return {10: "five", 12: "six", 14: "seven"}[ns.total]


def answers_solution(ns: Any) -> set[str]:
    numbers = {"two": 2, "three": 3, "five": 5, "seven": 7}
    return {name for name, number in numbers.items() if ns.total % number == 0}


def number_solution(ns: Any) -> float:
    return ns.total / 3


def number_wrong(ns: Any) -> dict[str, float]:
    return {"That is three times as much.": ns.total * 3, "That is all of it.": ns.total}


def code_solution(x):  # type: ignore[no-untyped-def]
    return 2 * x


def code_check(double: Any, ns: Any) -> None:
    got = double(2)
    assert got == 4, f"Twice 2 is 4, not `{got}`."


def code_check_zero(double: Any, ns: Any) -> None:
    got = double(0)
    assert got == 0, f"Twice of 0 is 0, not `{got}`."


challenge_baseline = 0
challenge_solution = 12


def challenge_score(guess: Any, ns: Any) -> float:
    assert isinstance(guess, int | float), "`guess` must be a number."
    return ns.total - abs(guess - ns.total)
