"""Who shares the work of a training: here one process, in ``scale.processes`` several.

Notebook 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from course_utils.models.generator import LanguageModel


class Alone:
    """One process, on a GPU if there is one."""

    rank = 0  # this process's number
    count = 1  # how many there are

    def from_first(self, value: Any) -> Any:
        """What the first process says, in all of them."""
        return value

    def add_up(self, weights: Sequence[torch.Tensor], loss: float) -> float:
        """Add up all processes' gradients in place, and their losses, which are returned."""
        return loss

    def device(self) -> torch.device | None:
        """Where to train; None where the model is."""
        return torch.device("cuda", 0) if torch.cuda.is_available() else None

    @contextmanager
    def placed(self, llm: LanguageModel) -> Iterator[None]:
        """Train on ``device``; the model comes back to where it was."""
        before, device = llm.model.device, self.device()
        if device is not None:
            llm.model.to(device)
        try:
            yield
        finally:
            llm.model.to(before)
