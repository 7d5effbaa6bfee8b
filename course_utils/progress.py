"""Progress bars: on screen, never in a stored output."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None = None, label: str = "", total: int | None = None) -> tqdm:
    """A tqdm bar that clears itself, and is silent where outputs are stored (COURSE_PROGRESS=0).

    Args:
        items: what to go through; None to call ``update`` by hand.
        label: shown before the bar.
        total: how many there will be, when ``items`` cannot tell.
    """
    silent = os.environ.get("COURSE_PROGRESS") == "0"
    return tqdm(items, desc=label, total=total, leave=False, disable=silent, delay=1)
