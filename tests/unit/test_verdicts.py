"""Verdicts and the intervals behind them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.evaluate.intervals import (
    Estimate,
    cluster_estimate,
    estimate,
    group_difference,
    paired_difference,
    ratio_estimate,
)
from course_utils.files import InputError
from course_utils.lab import verdicts


@pytest.mark.parametrize(
    ("low", "high", "reference", "below", "verdict"),
    [
        (0.01, 0.20, 0.0, False, "supported"),
        (0.01, 0.20, 0.0, True, "against"),
        (-0.20, -0.01, 0.0, False, "against"),
        (-0.20, -0.01, 0.0, True, "supported"),
        (-0.01, 0.20, 0.0, False, "undecided"),
        (-0.01, 0.20, 0.0, True, "undecided"),
        (0.00, 0.20, 0.0, False, "undecided"),  # it does not exceed 0
        (-0.05, 0.05, 0.0, False, "no difference"),
        (0.01, 0.04, 0.0, False, "no difference"),  # above 0, and too little to matter
        (0.01, 0.051, 0.0, False, "supported"),
        (0.86, 0.99, 0.85, False, "supported"),
        (0.60, 0.84, 0.85, False, "against"),
    ],
)
def test_a_verdict_follows_from_the_interval(
    low: float, high: float, reference: float, below: bool, verdict: str
) -> None:
    assert verdicts.compute_verdict(low, high, reference, 0.05, below) == verdict


bound = st.floats(-1, 1)


@given(low=bound, high=bound, reference=bound, margin=st.floats(0, 0.1))
def test_the_opposite_statement_gets_the_opposite_verdict(
    low: float, high: float, reference: float, margin: float
) -> None:
    low, high = sorted((low, high))
    opposite = {"supported": "against", "against": "supported"}
    one = verdicts.compute_verdict(low, high, reference, margin)
    other = verdicts.compute_verdict(low, high, reference, margin, below=True)
    assert other == opposite.get(one, one)


@given(value=bound, below=st.floats(0, 0.5), above=st.floats(0, 0.5), k=st.integers(1, 20))
def test_more_comparisons_never_make_an_interval_narrower(
    value: float, below: float, above: float, k: int
) -> None:
    made = Estimate(value, value - below, value + above, 9)
    narrow, wide = verdicts.widen(made, k), verdicts.widen(made, k + 1)
    assert wide[0] <= narrow[0] + 1e-12 and narrow[1] <= wide[1] + 1e-12
    assert verdicts.widen(made, 1) == pytest.approx((made.low, made.high))


def test_a_widened_share_stays_one() -> None:
    assert verdicts.widen(estimate([1] * 19 + [0]), 10, (0, 1))[1] <= 1.0
    assert verdicts.widen(estimate([0] * 19 + [1]), 10, (0, 1))[0] >= 0.0


def test_families_hold_with_95_percent_together() -> None:
    """Five comparisons without any difference: at most one family in twenty shows one."""
    draw, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        for _ in range(5):
            made = paired_difference(draw.normal(size=80), draw.normal(size=80))
            low, high = verdicts.widen(made, 5)
            if low > 0 or high < 0:
                wrong += 1
                break
    assert wrong <= 20  # 50 of 200 without the correction


def test_margins_are_no_larger_than_promised() -> None:
    margins = verdicts.load_margins()["margins"]
    shares = ("share", "recall", "F1", "kappa", "probability", "share of loss")
    assert max(margins[metric] for metric in shares) <= 0.05
    assert margins["nDCG@10"] <= 0.03


def test_repeated_measurements_of_a_question_are_not_independent() -> None:
    values, questions = [1.0] * 50 + [0.0] * 50, [n // 5 for n in range(100)]
    naive, made = estimate(values), cluster_estimate(values, questions, "questions")
    assert (made.value, made.n, made.cluster) == (0.5, 20, "questions")
    assert made.high - made.low > 1.8 * (naive.high - naive.low)
    with pytest.raises(InputError, match="needs its cluster"):
        cluster_estimate([1.0], [], "questions")


def test_a_ratio_has_an_interval() -> None:
    draw = np.random.default_rng(0)
    bottoms = draw.uniform(1, 3, 200)
    made = ratio_estimate(4 * bottoms + draw.normal(0, 0.5, 200), bottoms)
    assert made.low < 4 < made.high and made.high - made.low < 0.2
    uneven = ratio_estimate([1.0] * 40, [0.1, 9.9] * 20)  # of the means, not a mean of ratios
    assert uneven.value == pytest.approx(0.2) and uneven.low < 0.2 < uneven.high < 0.5
    with pytest.raises(InputError, match="same questions"):
        ratio_estimate([1.0], [])


def test_two_groups_of_questions_are_drawn_each_by_itself() -> None:
    made = group_difference([1] * 30 + [0] * 10, [1] * 10 + [0] * 70)
    spread = (0.75 * 0.25 / 40 + 0.125 * 0.875 / 80) ** 0.5  # of independent means
    assert (made.value, made.n) == (0.625, 120)
    assert made.high - made.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    with pytest.raises(InputError, match="two groups"):
        group_difference([1], [])
