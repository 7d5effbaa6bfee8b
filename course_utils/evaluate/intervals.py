"""How sure we are: confidence intervals, paired differences, agreement. Notebooks 01 and 05."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from course_utils.files import InputError


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` questions with its 95 % interval.

    ``cluster`` is empty, or names what ``n`` counts where each was measured several times.
    """

    value: float
    low: float
    high: float
    n: int
    cluster: str = ""

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def estimate(values: Sequence[float] | np.ndarray, draws: int = 10_000, seed: int = 0) -> Estimate:
    """The mean of one number a question, and its 95 % interval.

    Shares (values that are all 0 or 1) get Wilson's score interval (1927): a bootstrap of 0 right
    answers out of 136 would claim to be certain. Everything else gets the percentile bootstrap
    (Efron and Tibshirani, 1993).

    Args:
        values: n numbers or truth values; for two systems compared on the same questions pass the
            differences, which makes the bootstrap paired.
        draws: resamples.
        seed: of the resampling.

    Raises:
        InputError: there are no values.

    Example:
        >>> print(estimate([1, 1, 0, 1]))
        0.75 [0.30, 0.95]
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0:
        raise InputError("There is nothing to average: the list of values is empty.")
    if np.isin(numbers, (0, 1)).all():
        return _wilson(numbers)
    return bootstrap(numbers, draws, seed)


def _wilson(values: np.ndarray, z: float = 1.96) -> Estimate:
    share, n = float(values.mean()), values.size
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At a share of 0 or 1 rounding could leave it outside its own interval.
    return Estimate(
        share, max(min(centre - half, share), 0.0), min(max(centre + half, share), 1.0), n
    )


def bootstrap(values: np.ndarray, draws: int = 10_000, seed: int = 0) -> Estimate:
    draw = np.random.default_rng(seed)
    means = np.empty(draws)
    rows = max(1, 1_000_000 // values.size)  # all draws at once take 1.1 GB for 7,000 questions
    for start in range(0, draws, rows):
        block = means[start : start + rows]
        picks = draw.integers(0, values.size, (block.size, values.size))
        block[:] = values[picks].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), values.size)


def cluster_estimate(
    values: Sequence[float] | np.ndarray, clusters: Sequence[object], cluster: str
) -> Estimate:
    """The mean where the same question, fact or seed was measured several times.

    Measurements of one question resemble each other, so they are not that many independent ones:
    the bootstrap draws whole clusters, and n counts them (Davison and Hinkley, 1997, section 3.8).

    Args:
        values: m numbers.
        clusters: for each number, what it was measured on.
        cluster: what a cluster is, such as "questions".

    Raises:
        InputError: there are no values, or not one cluster for each.

    Example:
        >>> print(cluster_estimate([1, 1, 1, 0, 0, 0], "aaabbb", "questions"))
        0.50 [0.00, 1.00]
    """
    if not len(values) or len(values) != len(clusters):
        raise InputError(
            f"Each value needs its cluster: {len(values)} values, {len(clusters)} clusters."
        )
    numbers, names = np.asarray(values, dtype=float), sorted(set(map(str, clusters)))
    place = {name: number for number, name in enumerate(names)}
    rows = np.array([place[str(name)] for name in clusters])
    sums, counts = np.bincount(rows, numbers), np.bincount(rows)
    picks = np.random.default_rng(0).integers(0, len(names), (10_000, len(names)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(numbers.mean()), float(low), float(high), len(names), cluster)


def ratio_estimate(
    above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray
) -> Estimate:
    """The ratio of two means over the same questions or runs, with its paired bootstrap interval.

    Args:
        above: n numbers.
        below: n numbers of the same questions or runs; their mean is not 0.

    Raises:
        InputError: they are not equally many, or there are none.

    Example:
        >>> print(ratio_estimate([4.0, 6.0], [1.0, 2.0]))
        3.33 [3.00, 4.00]
    """
    if not len(above) or len(above) != len(below):
        raise InputError(f"A ratio needs the same questions: {len(above)} and {len(below)}.")
    tops, bottoms = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    picks = np.random.default_rng(0).integers(0, tops.size, (10_000, tops.size))
    ratios = tops[picks].mean(axis=1) / bottoms[picks].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Estimate(float(tops.mean() / bottoms.mean()), float(low), float(high), tops.size)


def group_difference(
    one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray
) -> Estimate:
    """The difference of two means over different questions; each group is drawn by itself.

    Args:
        one: n numbers.
        other: m numbers of other questions.

    Raises:
        InputError: a group is empty.

    Example:
        >>> print(group_difference([1, 1, 1, 1], [0, 0]))
        1.00 [1.00, 1.00]
    """
    if not len(one) or not len(other):
        raise InputError("A difference needs two groups: one of them is empty.")
    draw = np.random.default_rng(0)
    groups = [np.asarray(group, dtype=float) for group in (one, other)]
    means = [draw.choice(group, (10_000, group.size)).mean(axis=1) for group in groups]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    value = float(groups[0].mean() - groups[1].mean())
    return Estimate(value, float(low), float(high), len(one) + len(other))


def paired_difference(
    after: Sequence[float] | np.ndarray, before: Sequence[float] | np.ndarray
) -> Estimate:
    """The mean of ``after - before`` on the same questions, with its paired bootstrap interval.

    Args:
        after: n scores.
        before: the n scores of the same questions before.

    Raises:
        InputError: they are not equally many.

    Example:
        >>> print(paired_difference([1.0, 0.5, 0.75, 1.0], [0.5, 0.5, 0.5, 0.5]))
        0.31 [0.12, 0.50]
    """
    if len(after) != len(before):
        raise InputError(
            f"A paired comparison needs the same questions: {len(after)} and {len(before)}."
        )
    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    return bootstrap(differences)


def cohen_kappa(one: Sequence[object], other: Sequence[object]) -> float:
    """Agreement of two judges beyond chance (Cohen, 1960): 1 is full, 0 what chance would give.

    0 too when both give every item the same label, where there is nothing to agree on.
    """
    if not one or len(one) != len(other):
        raise InputError(f"Kappa needs the same items: {len(one)} and {len(other)} labels.")
    n, a, b = len(one), Counter(one), Counter(other)
    observed = sum(x == y for x, y in zip(one, other, strict=True)) / n
    chance = sum(a[label] * b[label] for label in a) / n**2
    return (observed - chance) / (1 - chance) if chance < 1 else 0.0
