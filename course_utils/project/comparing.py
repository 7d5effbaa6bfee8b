"""Saved runs, and whether a change made them better. Notebook 05."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from course_utils.evaluate.intervals import Estimate, paired_difference
from course_utils.files import InputError, write_text
from course_utils.search.documents import CorpusError


def write_run(path: Path | str, runs: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Save rankings as trec_eval reads them: question, Q0, document, rank, score, name of the run.

    Columns are separated by blanks, so blanks inside an id are written as %20. A question without
    a document has no line.
    """
    lines = []
    for question, run in runs.items():
        ranked = sorted(run, key=lambda page: (run[page], page), reverse=True)
        for rank, page in enumerate(ranked, start=1):
            ids = _escaped(question), _escaped(page)
            lines.append(f"{ids[0]} Q0 {ids[1]} {rank} {run[page]!r} {_escaped(name)}\n")
    write_text(path, "".join(lines))


def read_run(path: Path | str) -> dict[str, dict[str, float]]:
    """Read a saved run: {question: {document: score}}.

    Raises:
        CorpusError: no such file, or a line without the six columns.
    """
    if not Path(path).is_file():
        raise CorpusError(f"There is no run {path}.")
    runs: dict[str, dict[str, float]] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            question, _, page, _, score, _ = line.split()
            runs.setdefault(unquote(question), {})[unquote(page)] = float(score)
        except ValueError as error:
            raise CorpusError(
                f"{path}, line {number}: expected question, Q0, document, rank, score and name."
            ) from error
    return runs


def _escaped(name: str) -> str:
    if not name:
        raise InputError("A run file has no place for an empty id.")
    return re.sub(r"[\s%]", lambda found: quote(found[0]), name)


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a change: "better", "worse" or "undecided", and the difference."""

    decision: str
    difference: Estimate

    def __str__(self) -> str:
        made = self.difference
        bounds = f"{made.value:+.3f} [{made.low:+.3f}, {made.high:+.3f}]"
        return f"{self.decision}: {bounds}, n = {made.n}"


def compare_runs(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray, least: float = 0.02
) -> Verdict:
    """Judge a change on the same questions.

    Args:
        before: one score a question.
        after: the same questions' scores after the change.
        least: the smallest mean difference that matters.

    Returns:
        "better" when the difference is at least that and its interval lies above zero, "worse"
        for the reverse, else "undecided": too small to matter, or too few questions to tell (five
        that changed or fewer always are).

    Example:
        >>> print(compare_runs([0.1] * 10, [0.5] * 10))
        better: +0.400 [+0.400, +0.400], n = 10
    """
    made = paired_difference(after, before)
    changed = int((np.asarray(after, dtype=float) != np.asarray(before, dtype=float)).sum())
    # Five coins fall on one side in 1 of 16 throws: a bootstrap of so few would be too sure.
    if changed > 5 and made.low > 1e-9 and made.value >= least:
        return Verdict("better", made)
    if changed > 5 and made.high < -1e-9 and made.value <= -least:
        return Verdict("worse", made)
    return Verdict("undecided", made)
