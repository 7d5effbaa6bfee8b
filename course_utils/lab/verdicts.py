"""The verdict of a claim: computed from its interval and a margin that was fixed before.

In this order: *no difference* if the interval lies within the margin around the reference;
*supported* if it lies wholly on the side that the claim says; *against* if wholly on the other;
otherwise *undecided*.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import yaml

from course_utils.evaluate.intervals import Estimate

CLAIM_VERDICTS = ("supported", "against", "no difference", "undecided", "not tested")
MARGINS = Path(__file__).with_name("margins.yaml")


@cache
def load_margins() -> dict[str, Any]:
    """``margins`` by metric, the share of ``draws``, and ``families`` of claims' ids."""
    loaded: dict[str, Any] = yaml.safe_load(MARGINS.read_text(encoding="utf8"))
    return loaded


def count_comparisons(id: str) -> int:
    """How many comparisons answer the same question as this claim, itself included."""
    families = [ids for ids in load_margins()["families"].values() if id in ids]
    return max(map(len, families), default=1)


def widen(
    estimate: Estimate, comparisons: int, reach: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float]:
    """The interval that all of ``comparisons`` claims hold within together, with 95 %.

    Bonferroni's level, 1 - .05/comparisons; each side of the 95 % interval is stretched as a
    normal distribution's would be, but not beyond what can be measured (``reach``).

    Example:
        >>> [round(bound, 2) for bound in widen(Estimate(0.5, 0.4, 0.7, 80), 5)]
        [0.37, 0.76]
    """
    normal = NormalDist()
    stretch = normal.inv_cdf(1 - 0.025 / comparisons) / normal.inv_cdf(0.975)
    low = estimate.value - stretch * (estimate.value - estimate.low)
    high = estimate.value + stretch * (estimate.high - estimate.value)
    return max(low, reach[0]), min(high, reach[1])


def compute_verdict(
    low: float, high: float, reference: float, margin: float, below: bool = False
) -> str:
    """What an interval says about "the value is above the reference".

    Args:
        low, high: the interval; equal for a value that has none.
        reference: 0 for a difference, or a stated threshold.
        margin: the largest distance from the reference that makes no difference in practice.
        below: the claim says that the value is below it.

    Example:
        >>> compute_verdict(0.01, 0.08, reference=0, margin=0.05)
        'supported'
        >>> compute_verdict(-0.01, 0.02, reference=0, margin=0.05)
        'no difference'
    """
    if reference - margin <= low and high <= reference + margin:
        return "no difference"
    if low > reference:
        return "against" if below else "supported"
    if high < reference:
        return "supported" if below else "against"
    return "undecided"
