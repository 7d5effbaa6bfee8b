"""Claims: every statement of the course, measured, asserted and recorded.

A notebook calls ``start`` first, ``claim`` for each statement, and ``table`` at its end. If the
environment variable COURSE_LEDGER names a file, each of them appends a JSON line to it; ``course
run`` and the tests collect those lines into the ledger (``ledger``).
"""

from __future__ import annotations

import html
import logging
import os
import random
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from IPython.display import HTML

from course_utils.evaluate.intervals import Estimate
from course_utils.files import CourseError
from course_utils.lab.ledger import Claim, log_line
from course_utils.models import recordings

# Their warnings are about their own code, and a learner can do nothing about them.
NOISY = ("transformers", "llama_index", "huggingface_hub", "matplotlib", "ragas", "peft", "torch")


class ClaimError(CourseError, AssertionError):
    """A claim does not hold."""


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
    import numpy as np
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
    *,
    holds: bool,
    n: int | None = None,
    interval: tuple[float, float] | None = None,
    contradicted: str = "",
) -> Claim:
    """State, assert and record one result.

    Args:
        id: the statement's id in the course's list and a short name, such as "S01.rag".
        statement: what is claimed, in a sentence without its number.
        value: the number, or an ``Estimate``, which brings its n and interval.
        holds: the assertion; state it with a margin, so that another CPU does not break it.
        n: how many questions, examples or runs the number is from.
        interval: its 95 % interval.
        contradicted: why the measurement disagrees with the advice, if it does. ``statement``
            and ``holds`` then say what was measured instead.

    Raises:
        ClaimError: it does not hold.
    """
    if isinstance(value, Estimate):
        n, interval, value = value.n, (value.low, value.high), value.value
    verdict = "contradicted" if contradicted else "holds"
    bounds = (float(interval[0]), float(interval[1])) if interval else None
    made = Claim(id, _session.notebook, statement, float(value), n, bounds, verdict, contradicted)
    if not holds:
        raise ClaimError(f"{id} does not hold here: {statement} (measured {made.value:.3g}).")
    _session.claims[id] = made
    log_line({"claim": asdict(made)})
    print(made)
    return made


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
            f"<td>{c.value:.3g}</td><td>{c.bounds}</td><td>{c.n or ''}</td>"
            f"<td>{c.verdict}</td></tr>"
            for c in claims
        )
        heads = ("claim", "statement", "value", "95 % interval", "n", "verdict")
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
