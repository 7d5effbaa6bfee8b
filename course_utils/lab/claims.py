"""Claims: every statement of the course, measured and recorded, with a verdict that is computed.

A notebook calls ``start`` first, a ``claim…`` function for each statement, and ``table`` at its
end. If the environment variable COURSE_LEDGER names a file, each of them appends a JSON line to it;
``course run`` and the tests collect those lines into the ledger (``ledger``).
"""

from __future__ import annotations

import html
import logging
import math
import os
import random
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import HTML

from course_utils.evaluate.intervals import Estimate
from course_utils.files import CourseError
from course_utils.lab import verdicts
from course_utils.lab.ledger import Claim, log_line
from course_utils.models import recordings

# Their warnings are about their own code, and a learner can do nothing about them.
NOISY = ("transformers", "llama_index", "huggingface_hub", "matplotlib", "ragas", "peft", "torch")


class ClaimError(CourseError, AssertionError):
    """A claim that no measurement could decide, or that says too little to be checked."""


@dataclass
class _Session:
    notebook: str
    began: float
    claims: dict[str, Claim]


_session = _Session("", time.monotonic(), {})


def start(notebook: str, seed: int = 0) -> None:
    """Begin a notebook: forget earlier claims, fix the seeds, quiet the libraries.

    Warnings of the libraries are silenced in this kernel from here on; those of the notebook's own
    code are still shown.

    Args:
        notebook: its name without ``.ipynb``; claims are filed under it.
        seed: for Python, NumPy and torch.
    """
    global _session
    import torch
    from transformers.utils import logging as transformers_logging

    _session = _Session(notebook, time.monotonic(), {})
    recordings.use_recordings(notebook)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for category in (DeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    for name in NOISY:
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers_logging.disable_progress_bar()


def claim(
    id: str,
    statement: str,
    value: float | Estimate,
    metric: str = "share",
    *,
    above: float | None = None,
    below: float | None = None,
    n: int | None = None,
    reach: tuple[float, float] | None = None,
    exploratory: bool = False,
    note: str = "",
) -> None:
    """State and record a measurement; the verdict is computed from it (``lab.verdicts``).

    Nothing is raised when the measurement is against the statement: that is a result.

    Args:
        id: the statement's id in the course's list and a short name, such as "S01.rag".
        statement: a sentence that is true or false, without its number.
        value: an ``Estimate``, with its interval and n; a bare number was measured once.
        metric: names the margin in ``margins.yaml``.
        above: the statement says that the value is above this; 0 unless ``below`` is given.
        below: the statement says that the value is below this.
        n: how many runs or examples a bare number is from.
        reach: the lowest and the highest value that could have been measured, where that is not
            clear from the metric; for example a gain over a system that is right in 95 % cannot
            exceed .05.
        exploratory: the comparison was chosen after results on these questions had been seen.
        note: what the reader has to know to read the verdict.

    Raises:
        ClaimError: the statement could not be true whatever had been measured, or has no sentence.
    """
    if above is not None and below is not None:
        raise ClaimError(f"{id} is either above {above} or below {below}: give one of them.")
    is_below, reference = below is not None, below if below is not None else above or 0.0
    reach = reach or _reach(metric, reference)
    _check_reach(id, reference, is_below, reach)
    measured = value if isinstance(value, Estimate) else Estimate(value, value, value, n or 0)
    comparisons = verdicts.count_comparisons(id)
    low, high = verdicts.widen(measured, comparisons, reach)
    margin = _margin(id, metric)
    _record(
        id,
        statement,
        "measured",
        verdicts.compute_verdict(low, high, reference, margin, is_below),
        value=float(measured.value),
        interval=(low, high) if isinstance(value, Estimate) else None,
        n=measured.n or None,
        margin=margin,
        exploratory=exploratory,
        note=note,
        metric=metric,
        reference=f"{'below' if is_below else 'above'} {reference:g}",
        comparisons=comparisons,
        cluster=measured.cluster,
    )


def claim_exact(
    id: str, statement: str, value: float, *, holds: bool, n: int | None = None
) -> None:
    """Record what has no interval: equal bytes, a count of all cases, a proof.

    Args:
        id: as for ``claim``.
        statement: a sentence that is true or false.
        value: the number counted.
        holds: whether the statement is true of it.
        n: how many cases were counted.
    """
    verdict = "supported" if holds else "against"
    _record(id, statement, "exact", verdict, value=float(value), n=n)


def claim_model(
    id: str, statement: str, draws: Sequence[bool] | np.ndarray, *, ranges: str, note: str = ""
) -> None:
    """Record the share of draws over stated ranges in which a statement about a model is true.

    Args:
        id: as for ``claim``.
        statement: a sentence that is true or false in each draw.
        draws: whether it was true, for each draw.
        ranges: over which ranges the inputs were drawn, in words.
        note: as for ``claim``.
    """
    share, least = float(np.mean(draws)), verdicts.load_margins()["draws"]
    verdict = "supported" if share >= least else "against" if share <= 1 - least else "undecided"
    said = f"True in this share of draws: {ranges}." + (f" {note}" if note else "")
    _record(id, statement, "model", verdict, value=share, n=len(draws), note=said)


def claim_untested(id: str, statement: str, why: str) -> None:
    """Record a statement of the advice that this notebook cannot decide, and why."""
    _record(id, statement, "measured", "not tested", note=why)


def _reach(metric: str, reference: float) -> tuple[float, float]:
    """What can be measured at all: shares lie between 0 and 1, their differences up to 1 apart."""
    if metric in ("share", "recall", "nDCG@10", "F1", "probability"):
        return (0.0, 1.0) if reference > 0 else (-1.0, 1.0)
    return (-math.inf, math.inf)


def _check_reach(id: str, reference: float, below: bool, reach: tuple[float, float]) -> None:
    possible = reach[0] < reference if below else reach[1] > reference
    if not possible:
        raise ClaimError(
            f"{id} cannot be supported: its value lies between {reach[0]:g} and {reach[1]:g}, "
            f"and it has to be {'below' if below else 'above'} {reference:g}."
        )


def _margin(id: str, metric: str) -> float:
    margin: float | None = verdicts.load_margins()["margins"].get(metric)
    if margin is None:
        raise ClaimError(f"{id}: margins.yaml has no margin for {metric!r}.")
    return margin


def _record(id: str, statement: str, kind: str, verdict: str, **measured: Any) -> None:
    if not statement[:1].isupper() or statement.endswith("."):
        raise ClaimError(f"{id}: the statement is a sentence without its full stop.")
    made = Claim(id, _session.notebook, statement, kind, verdict, **measured)
    _session.claims[id] = made
    log_line({"claim": asdict(made)})
    print(made)


def table() -> HTML:
    """This notebook's claims as a table; records its seconds and peak memory too."""
    measured = {
        "notebook": _session.notebook,
        "seconds": round(time.monotonic() - _session.began, 1),
        "peak_bytes": peak_bytes(),
    }
    log_line({"notebook": measured})
    return ClaimsTable(list(_session.claims.values()), recordings.current().summary())


class ClaimsTable(HTML):
    """Claims as HTML; its plain-text form is the same everywhere."""

    def __init__(self, claims: list[Claim], below: str = "") -> None:
        rows = "".join(
            f"<tr><td>{c.id}</td><td style='text-align:left'>{html.escape(c.statement)}</td>"
            f"<td>{c.number}</td><td>{c.bounds}</td><td>{c.n or ''}</td>"
            f"<td>{c.verdict}{' (exploratory)' if c.exploratory else ''}</td></tr>"
            for c in claims
        )
        heads = ("claim", "statement", "value", "interval", "n", "verdict")
        head = "".join(f"<th>{name}</th>" for name in heads)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        super().__init__(table + (f"<p>{html.escape(below)}</p>" if below else ""))

    def __repr__(self) -> str:
        return "claims table"


def peak_bytes() -> int:
    """The most memory this process has held resident so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import psutil

    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
