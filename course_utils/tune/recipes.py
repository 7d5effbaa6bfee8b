"""How to train, and what comes out of it. Notebook 06."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from course_utils.files import InputError


class FinetuningError(InputError):
    """The examples or the model cannot be trained on; the message says what to do."""


@dataclass(frozen=True)
class Recipe:
    """How to train. Each field is part of the key under which an adapter is cached.

    ``targets`` are the names of the layers that get an adapter. A step learns from examples of
    ``tokens_per_step`` tokens, read in passes of at most ``tokens_per_pass``, padding included;
    a pass holds about 1 MB of a 135M model's activations for each of its tokens. ``recompute``
    keeps only each layer's input and computes the rest again on the way back: half as much work
    again, and passes several times longer in the same memory. The learning rate rises over the
    first ``warm_up`` of the steps, then falls to 0. Where there are dev examples, their loss is
    measured ``evaluations`` times, spread evenly, training stops when it has not fallen
    ``patience`` times in a row, and the best weights are kept; 0 evaluations keep the last ones.

    Raises:
        FinetuningError: nothing can be trained with a value.
    """

    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = ("all-linear",)
    learning_rate: float = 1e-3
    epochs: float = 2
    tokens_per_step: int = 2048
    tokens_per_pass: int = 256
    warm_up: float = 0.1
    clip: float = 1.0
    evaluations: int = 4
    patience: int = 2
    seed: int = 0
    recompute: bool = False

    def __post_init__(self) -> None:
        for names, least in (
            ("rank tokens_per_step tokens_per_pass", 1),
            ("learning_rate warm_up evaluations patience", 0),
            ("epochs clip", 1e-9),
        ):
            for name in names.split():
                value = getattr(self, name)
                if not least <= value or value == math.inf:
                    wanted = "above 0" if least == 1e-9 else f"{least} or more"
                    raise FinetuningError(f"The recipe's {name} must be {wanted}, not {value}.")
        if not self.targets:
            raise FinetuningError("The recipe's targets must be layers, or ('all-linear',).")


@dataclass(frozen=True)
class Adapter:
    """A trained adapter: a folder in peft's own format, its recipe, and how training went.

    ``history`` has one entry a step: "loss", and "dev" where it was measured. ``tokens`` were read
    in ``seconds``, without the dev examples.
    """

    folder: Path
    recipe: Recipe
    history: list[dict[str, float]] = field(repr=False)
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0  # too short to measure
