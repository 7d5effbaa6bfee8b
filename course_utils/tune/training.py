"""LoRA fine-tuning with peft: the loss on the answers only, memory bounded, adapters cached.

What is learned is a list of chats, and of each chat the assistant's turns. Put several questions
on one context into one chat: reading the context is what costs. Notebooks 06 and 07.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from course_utils.files import cache_dir, progress, replacing, write_text
from course_utils.generate.prompting import Chat
from course_utils.models.cache import in_order
from course_utils.models.generator import LanguageModel
from course_utils.models.weights import release_memory, weights_digest
from course_utils.tune.adapters import (
    load_adapter,
    quiet_peft,
    recomputed,
    removed_after,
    require_bare,
)
from course_utils.tune.encoding import Row, encode_all, learning_rate, plan
from course_utils.tune.losses import mean_losses, token_losses
from course_utils.tune.recipes import Adapter, FinetuningError, Recipe
from course_utils.tune.workers import Alone

TRAINER_VERSION = 1  # part of every adapter's key: raise it when the code trains differently
SAVE_SECONDS = 30


def train(
    llm: LanguageModel,
    examples: Sequence[Chat],
    recipe: Recipe | None = None,
    dev: Sequence[Chat] = (),
    workers: Alone | None = None,
) -> Adapter:
    """Train an adapter, or load it when the same training has been done before.

    "The same" means the same weights, examples, dev examples and recipe. The model comes back as
    it was; use ``attached`` to switch the adapter on. An interrupted training goes on where it was
    saved last, half a minute back at most, and ends as it would have. When a loss is no longer a
    number, training stops: with a warning and the best weights so far where dev examples chose
    some, else with an error.

    Args:
        llm: a local model.
        examples: n chats, of which the assistant's turns are learned.
        recipe: how to train.
        dev: chats to choose the best weights by; none of them should be among the examples.
        workers: who shares the work; this process alone by default.

    Raises:
        FinetuningError: there is nothing to learn, an example is too long, an adapter is attached,
            or the training broke down.
    """
    recipe, workers = recipe or Recipe(), workers or Alone()
    require_bare(llm)
    rows = encode_all(llm, examples, recipe)
    held = encode_all(llm, dev, recipe) if dev else []
    seen = [TRAINER_VERSION, weights_digest(llm.model), asdict(recipe)]
    seen += [*map(asdict, (*rows, *held)), len(held)]
    key = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:24]
    root = cache_dir() / "adapters"
    root.mkdir(exist_ok=True)
    # Of several processes the first holds the lock, decides and writes, on a disk that all see.
    with filelock.FileLock(root / f"{key}.lock") if workers.rank == 0 else nullcontext():
        if workers.from_first(not (root / key).is_dir()):
            with workers.placed(llm):
                _train(_Run(llm, rows, held, recipe, root / f"{key}.state", workers), root / key)
            release_memory()
        workers.from_first(None)  # the others wait until it is written
    return load_adapter(root / key)


def _train(run: _Run, out: Path) -> None:
    llm, recipe = run.llm, run.recipe
    names = list(recipe.targets)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=names[0] if names == ["all-linear"] else names,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), quiet_peft():
        torch.manual_seed(recipe.seed)
        wrapped = get_peft_model(llm.model, config)
    with removed_after(llm, wrapped), recomputed(llm, recipe.recompute):
        state = run.finish()
        if run.workers.rank > 0:
            return
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=out.name) as folder:
            partial = Path(folder) / "adapter"
            wrapped.save_pretrained(str(partial), save_embedding_layers=False)
            record = {"recipe": asdict(recipe)} | state
            write_text(partial / "training.json", json.dumps(record, indent=1))
            partial.rename(out)
    run.saved.unlink(missing_ok=True)


@dataclass
class _Run:
    """One training, from wherever it stands to its end."""

    llm: LanguageModel
    rows: list[Row]
    held: list[Row]  # the dev examples
    recipe: Recipe
    saved: Path  # where an interrupted training goes on
    workers: Alone

    def __post_init__(self) -> None:
        self.steps = plan([len(row.ids) for row in self.rows], self.recipe)
        self.best: list[torch.Tensor] = []  # filled where there are dev examples to choose by
        self.history: list[dict[str, float]] = []
        self.tokens, self.seconds = 0, 0.0

    def finish(self) -> dict[str, Any]:
        """Train to the end, put the best weights in place, and tell how it went."""
        self.weights = [p for p in self.llm.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, weight_decay=0.0)
        self._restore()
        total, last_saved = len(self.steps), time.monotonic()
        with progress(total=total, label="training") as bar:
            bar.update(len(self.history))
            while len(self.history) < total and not self._stale():
                began = time.monotonic()
                loss = self._step(len(self.history))
                self.seconds += time.monotonic() - began
                self.history.append({"loss": loss})
                release_memory()  # steps differ in shape, and what one leaves rarely fits the next
                if self.held and self._due(len(self.history)):
                    self._evaluate()
                if not all(map(math.isfinite, self.history[-1].values())):
                    self._break_off()
                    break
                bar.update()
                rate = self.tokens / max(self.seconds, 1e-9)
                bar.set_postfix_str(f"loss {loss:.3f}, {rate:.0f} tokens/s", refresh=False)
                if time.monotonic() - last_saved > SAVE_SECONDS:
                    self._save()
                    last_saved = time.monotonic()
        with torch.no_grad():
            for weight, best in zip(self.weights, self.best, strict=bool(self.best)):
                weight.copy_(best)
        return {"history": self.history, "tokens": self.tokens, "seconds": round(self.seconds, 2)}

    def _step(self, number: int) -> float:
        passes = self.steps[number]
        wanted = sum(sum(self.rows[i].learned) for part in passes for i in part)
        loss = 0.0
        for part in passes[self.workers.rank :: self.workers.count]:
            share = token_losses(self.llm, [self.rows[i] for i in part]).sum() / wanted
            share.backward()
            loss += share.item()
        loss = self.workers.add_up(self.weights, loss)
        self.tokens += sum(len(self.rows[i].ids) for part in passes for i in part)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        if not norm.isfinite():
            return math.nan  # such a step would spoil the weights
        rate = learning_rate(number, len(self.steps), self.recipe)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def _due(self, done: int) -> bool:
        times, total = self.recipe.evaluations, len(self.steps)
        return done * times // total > (done - 1) * times // total

    def _evaluate(self) -> None:
        before = min((entry["dev"] for entry in self.history if "dev" in entry), default=math.inf)
        self.history[-1]["dev"] = float(np.mean(in_order(mean_losses(self.llm, self.held, 768))))
        if self.history[-1]["dev"] < before:
            self.best = [weight.detach().clone() for weight in self.weights]

    def _break_off(self) -> None:
        """Stop where a loss is not a number; the best weights, if there are any, are the result."""
        message = (
            f"The loss of step {len(self.history)} of {len(self.steps)} is not a number: lower the "
            f"recipe's learning_rate ({self.recipe.learning_rate:g}) and train again."
        )
        if not self.best:
            raise FinetuningError(message)
        self.history.pop()
        warnings.warn(f"{message} The best weights so far are kept.", stacklevel=2)

    def _stale(self) -> bool:
        """Whether the dev loss has not fallen for as many evaluations as the recipe waits."""
        losses = [entry["dev"] for entry in self.history if "dev" in entry]
        return len(losses) - 1 - int(np.argmin(losses or [0])) >= self.recipe.patience

    def _save(self) -> None:
        if self.workers.rank > 0:
            return
        state = {
            "weights": self.weights,
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "progress": [self.history, self.tokens, self.seconds],
        }
        with replacing(self.saved) as partial:
            torch.save(state, partial)

    def _restore(self) -> None:
        if not self.saved.is_file():
            return
        try:
            state = torch.load(self.saved, map_location="cpu", weights_only=True)
        except Exception:  # whatever is wrong with the file, training can start over
            return
        with torch.no_grad():
            for weight, kept in zip(self.weights, state["weights"], strict=True):
                weight.copy_(kept)
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.history, self.tokens, self.seconds = state["progress"]
