"""LoRA fine-tuning with peft: the loss on the answers only, memory bounded, adapters cached.

What is learned is a list of chats, and of each chat the assistant's turns. Put several questions
on one context into one chat: reading the context is what costs.

LoRA (Hu et al., 2022) leaves a layer's weights W alone and adds two thin matrices to what it
computes: W x + s B A x. B starts as zeros, so training starts from the model as it is.

Under torchrun several processes share each step's passes and add up their gradients, so that they
train what one would::

    torchrun --nproc-per-node 2 -m course_utils.finetuning FILE.json
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MethodType
from typing import Any

import filelock
import numpy as np
import torch
import torch.distributed as dist
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch.nn.functional import silu

from course_utils.cache import remembered_by
from course_utils.files import InputError, cache_dir, progress, replacing, write_text
from course_utils.models import LanguageModel, load_generator, release_memory, weights_digest

Chat = list[dict[str, str]]
ENGINE = 1  # part of every adapter's key: raise it when the code trains differently
SAVE_SECONDS = 30


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
        for name in ("rank", "tokens_per_step", "tokens_per_pass"):
            if getattr(self, name) < 1:
                _refuse(self, name, "at least 1")
        for name in ("learning_rate", "warm_up", "evaluations", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                _refuse(self, name, "0 or more")
        if not 0 < self.epochs < math.inf:
            _refuse(self, "epochs", "above 0")
        if not self.clip > 0:
            _refuse(self, "clip", "above 0")
        if not self.targets:
            _refuse(self, "targets", 'names of layers, or ("all-linear",)')


def _refuse(recipe: Recipe, name: str, wanted: str) -> None:
    raise FinetuningError(f"The recipe's {name} must be {wanted}, not {getattr(recipe, name)}.")


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


@dataclass(frozen=True)
class Row:
    """A chat as token ids; ``learned`` marks those of the assistant's turns."""

    ids: list[int]
    learned: list[bool]


# --- examples -------------------------------------------------------------------------------------


def encode(llm: LanguageModel, chat: Chat) -> Row:
    """Turn a chat into token ids and mark the assistant's.

    Prompts and answers are tokenised apart, as they are when the model answers. An answer includes
    the token that ends it, so that the model learns to stop, where the chat template has one.

    Args:
        llm: whose tokenizer and chat template to use.
        chat: with at least one assistant's turn.

    Raises:
        FinetuningError: the chat template changes a prompt when its answer follows.
    """
    ids: list[int] = []
    learned: list[bool] = []
    done = ""
    for turn, message in enumerate(chat):
        if message["role"] != "assistant":
            continue
        before = llm.tokenizer.apply_chat_template(
            chat[:turn], add_generation_prompt=True, tokenize=False
        )
        after = llm.tokenizer.apply_chat_template(chat[: turn + 1], tokenize=False)
        if not (before.startswith(done) and after.startswith(before)):
            raise FinetuningError(
                f"The chat template of {llm.name} changes earlier turns when later ones follow: "
                "train on chats of one question and one answer, or use another model."
            )
        answer = after[len(before) :]
        answer = answer[: _turn_end(llm.tokenizer, answer, message["content"])]
        for text, is_answer in ((before[len(done) :], False), (answer, True)):
            tokens = llm.tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += tokens
            learned += [is_answer] * len(tokens)
        done = before + answer
    return Row(ids, learned)


def _turn_end(tokenizer: Any, text: str, content: str) -> int:
    """Where a turn that begins a text ends: after the first special token behind its content."""
    start = max(text.find(content.strip()), 0) + len(content.strip())
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    rest = text[start:]
    ends = [rest.index(token) + len(token) for token in special if token in rest]
    return start + min(ends) if ends else len(text.rstrip())


def plan(lengths: Sequence[int], recipe: Recipe) -> list[list[list[int]]]:
    """Which rows are read in which pass of which step.

    Rows are shuffled each epoch and cut into steps; within a step those of nearly one length share
    a pass, because padding is computed like any other token.

    Args:
        lengths: tokens of each row.
        recipe: its seed, epochs and token budgets count.

    Returns:
        Steps, each a list of passes, each a list of row numbers. Every row once an epoch.
    """
    shuffle = random.Random(recipe.seed)
    steps: list[list[list[int]]] = []
    for epoch in range(math.ceil(recipe.epochs)):
        order = list(range(len(lengths)))
        shuffle.shuffle(order)
        chosen = _cut(order, lengths, recipe.tokens_per_step, padded=False)
        share = min(1.0, recipe.epochs - epoch)
        for step in chosen[: max(1, round(share * len(chosen)))]:
            by_length = sorted(step, key=lambda row: -lengths[row])
            steps.append(_cut(by_length, lengths, recipe.tokens_per_pass, padded=True))
    return steps


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Up over the warm-up, whose first step learns already, then down to the last step.

    Args:
        step: its number, the first is 0.
        steps: how many there are.
        recipe: its learning rate and warm-up count.
    """
    warm = math.ceil(recipe.warm_up * steps)
    share = min((step + 1) / max(warm, 1), (steps - step) / max(steps - warm, 1))
    return recipe.learning_rate * share


def _cut(
    order: Sequence[int], lengths: Sequence[int], budget: int, padded: bool
) -> list[list[int]]:
    """Cut a line of rows into groups within a budget of tokens, with or without their padding."""
    groups: list[list[int]] = []
    used = budget
    for row in order:
        rows = len(groups[-1]) + 1 if groups else 1
        used = rows * lengths[groups[-1][0] if groups else row] if padded else used + lengths[row]
        if not groups or used > budget:
            groups.append([])
            used = lengths[row]
        groups[-1].append(row)
    return groups


# --- the loss -------------------------------------------------------------------------------------


def token_losses(llm: LanguageModel, rows: Sequence[Row]) -> torch.Tensor:
    """The loss of each learned token of some rows, in nats, row by row.

    The head, whose output has an entry for each of the vocabulary's words, is applied where a
    learned token is predicted and nowhere else: that is most of the memory that training takes
    elsewhere. Rows are padded on the right, where no real token looks.
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows])
    learned = torch.tensor([row.learned + [False] * (longest - len(row.ids)) for row in rows])
    ids, learned = ids.to(llm.model.device), learned.to(llm.model.device)
    hidden = llm.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits = llm.model.get_output_embeddings()(hidden[:, :-1][learned[:, 1:]])
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][learned[:, 1:]], reduction="none")


def loss_on(llm: LanguageModel, examples: Sequence[Chat], tokens_per_pass: int = 768) -> np.ndarray:
    """How badly a model predicts the assistant's turns of some chats.

    Args:
        llm: a local model, with or without an adapter attached.
        examples: n chats.
        tokens_per_pass: upper bound on padded tokens run at once.

    Returns:
        (n,) nats per token of the assistant's turns.
    """
    if llm.remember:

        def losses(fresh: LanguageModel, some: list[Any]) -> list[float]:
            return loss_on(fresh, some, tokens_per_pass).tolist()

        return np.array(remembered_by(llm, ["loss"], examples, losses))
    return _mean_losses(llm, [encode(llm, chat) for chat in examples], tokens_per_pass)


@torch.inference_mode()
def _mean_losses(llm: LanguageModel, rows: list[Row], tokens_per_pass: int) -> np.ndarray:
    lengths = [len(row.ids) for row in rows]
    means = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda row: -lengths[row])
    for part in _cut(order, lengths, tokens_per_pass, padded=True):
        losses = token_losses(llm, [rows[i] for i in part])
        pieces = losses.split([sum(rows[i].learned) for i in part])
        means[part] = [piece.mean().item() for piece in pieces]
    release_memory()
    return means


# --- adapters -------------------------------------------------------------------------------------


@contextmanager
def attached(llm: LanguageModel, adapter: Adapter) -> Iterator[LanguageModel]:
    """Switch an adapter on within a ``with``; afterwards the model is exactly what it was.

    Args:
        llm: the model that the adapter was trained on.
        adapter: what ``train`` returned.
    """
    _require_bare(llm)
    with _quiet():
        wrapped = PeftModel.from_pretrained(llm.model, str(adapter.folder))
    with _taken_off(llm, wrapped):
        yield llm


@contextmanager
def _quiet() -> Iterator[None]:
    """peft asks transformers by an old name, and a learner can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


@contextmanager
def _taken_off(llm: LanguageModel, wrapped: Any) -> Iterator[None]:
    """Compute adapters faster, and remove them at the end, whatever happens."""
    for module in llm.model.modules():
        if _can_fuse(module):
            module.forward = MethodType(_fused, module)
    gated = [module for module in llm.model.modules() if _is_gated(module)]
    for module in gated:
        module.forward = MethodType(_fused_gated, module)
    try:
        yield
    finally:
        for module in gated:
            del module.forward  # what its class does
        wrapped.unload()
        vars(llm.model).pop("peft_config", None)
        release_memory()


@contextmanager
def _recomputed(llm: LanguageModel, wanted: bool) -> Iterator[None]:
    """Activations are computed again where they are needed (Chen et al., 2016)."""
    if not wanted:
        yield
        return
    llm.model.activation_checkpointing_enable({"use_reentrant": False})
    llm.model.train()  # transformers recomputes in no other mode; there is no dropout in it
    try:
        yield
    finally:
        llm.model.activation_checkpointing_disable()
        llm.model.eval()


def _require_bare(llm: LanguageModel) -> None:
    if any(isinstance(module, LoraLinear) for module in llm.model.modules()):
        raise FinetuningError("An adapter is attached already: leave its `with attached(…)` first.")


def _can_fuse(layer: Any) -> bool:
    return isinstance(layer, LoraLinear) and isinstance(layer.base_layer, torch.nn.Linear)


def _is_gated(module: Any) -> bool:
    """Whether it computes down(silu(gate(x)) up(x)), as Llama does and most models after it."""
    layers = (getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj"))
    activation = getattr(getattr(module, "config", None), "hidden_act", None)
    return activation == "silu" and all(map(_can_fuse, layers))


def _fused_gated(module: Any, x: torch.Tensor) -> torch.Tensor:
    return _fused(module.down_proj, module.up_proj(x), module.gate_proj(x))


def _fused(layer: Any, x: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
    if layer.disable_adapters:
        return layer.base_layer(x if gate is None else silu(gate) * x)
    (name,) = layer.active_adapters
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return FusedLora.apply(
        x, gate, layer.base_layer.weight, layer.base_layer.bias, a, b, layer.scaling[name]
    )


class FusedLora(torch.autograd.Function):
    """W x + s B A x, added up in place: what peft computes, with fewer passes over memory.

    With a gate g it is W z + s B A z of z = silu(g) x, and z is computed again on the way back: g
    and x have to be kept anyway, and z would be a third of what a gated layer keeps.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Any, gate: Any, w: Any, bias: Any, a: Any, b: Any, scale: float
    ) -> Any:
        z = x if gate is None else silu(gate) * x
        y = torch.nn.functional.linear(z, w, bias)
        inner = z.reshape(-1, z.shape[-1]) @ a.t()
        y.view(-1, y.shape[-1]).addmm_(inner, b.t(), alpha=scale)
        ctx.save_for_backward(x, gate, w, a, b, inner)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, gate, w, a, b, inner = ctx.saved_tensors
        dy = grads[0].reshape(-1, grads[0].shape[-1])
        d_inner = (dy @ b).mul_(ctx.scale)
        z = x if gate is None else silu(gate) * x
        of_weights = d_inner.t() @ z.reshape(-1, z.shape[-1]), (dy.t() @ inner).mul_(ctx.scale)
        if not any(ctx.needs_input_grad[:2]):
            return None, None, None, None, *of_weights, None
        dz = (dy @ w).addmm_(d_inner, a).view(x.shape)
        if gate is None:
            return dz, None, None, None, *of_weights, None
        d_gate = torch.ops.aten.silu_backward(dz * x, gate)
        return dz.mul_(silu(gate)), d_gate, None, None, *of_weights, None


# --- training -------------------------------------------------------------------------------------


def train(
    llm: LanguageModel,
    examples: Sequence[Chat],
    recipe: Recipe | None = None,
    dev: Sequence[Chat] = (),
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

    Raises:
        FinetuningError: there is nothing to learn, an example is too long, an adapter is attached,
            or the training broke down.
    """
    recipe = recipe or Recipe()
    _require_bare(llm)
    rows = _encode_all(llm, examples, recipe)
    held = _encode_all(llm, dev, recipe) if dev else []
    seen = [
        ENGINE,
        weights_digest(llm.model),
        asdict(recipe),
        *map(asdict, (*rows, *held)),
        len(held),
    ]
    key = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:24]
    root = cache_dir() / "adapters"
    root.mkdir(exist_ok=True)
    # Of several processes the first holds the lock, decides and writes, on a disk that all see.
    with filelock.FileLock(root / f"{key}.lock") if _rank() == 0 else nullcontext():
        if _from_first(not (root / key).is_dir()):
            with _on_its_device(llm):
                _train(llm, rows, held, recipe, root / key)
            release_memory()
        _from_first(None)  # the others wait until it is written
    return load_adapter(root / key)


def load_adapter(folder: Path) -> Adapter:
    """An adapter that was trained before, here or elsewhere.

    Args:
        folder: as ``train`` wrote it.
    """
    record = json.loads((folder / "training.json").read_text(encoding="utf8"))
    recipe = record.pop("recipe")
    return Adapter(folder, Recipe(**recipe | {"targets": tuple(recipe["targets"])}), **record)


def _encode_all(llm: LanguageModel, chats: Sequence[Chat], recipe: Recipe) -> list[Row]:
    rows = [encode(llm, chat) for chat in chats]
    if not rows:
        raise FinetuningError("There are no examples to learn from.")
    for number, row in enumerate(rows):
        if not any(row.learned):
            raise FinetuningError(f"Example {number} has no assistant's turn to learn.")
        if len(row.ids) > recipe.tokens_per_pass:
            raise FinetuningError(
                f"Example {number} has {len(row.ids)} tokens, a pass at most "
                f"{recipe.tokens_per_pass}: shorten it, or raise the recipe's tokens_per_pass."
            )
    return rows


def _train(llm: LanguageModel, rows: list[Row], held: list[Row], recipe: Recipe, out: Path) -> None:
    names = list(recipe.targets)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=names[0] if names == ["all-linear"] else names,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(recipe.seed)
        wrapped = get_peft_model(llm.model, config)
    with _taken_off(llm, wrapped), _recomputed(llm, recipe.recompute):
        state = _Run(llm, rows, held, recipe, out.with_suffix(".state")).finish()
        if _rank() > 0:
            return
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=out.name) as folder:
            partial = Path(folder) / "adapter"
            wrapped.save_pretrained(str(partial), save_embedding_layers=False)
            record = {"recipe": asdict(recipe)} | state
            write_text(partial / "training.json", json.dumps(record, indent=1))
            partial.rename(out)
    out.with_suffix(".state").unlink(missing_ok=True)


class _Run:
    """One training, from wherever it stands to its end."""

    def __init__(
        self, llm: LanguageModel, rows: list[Row], held: list[Row], recipe: Recipe, saved: Path
    ) -> None:
        self.llm, self.rows, self.held, self.recipe, self.saved = llm, rows, held, recipe, saved
        self.steps = plan([len(row.ids) for row in rows], recipe)
        self.weights = [p for p in llm.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, weight_decay=0.0)
        self.best: list[torch.Tensor] = []  # filled where there are dev examples to choose by
        self.history: list[dict[str, float]] = []
        self.tokens, self.seconds = 0, 0.0
        self._restore()

    def finish(self) -> dict[str, Any]:
        """Train to the end, put the best weights in place, and tell how it went."""
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
        for part in passes[_rank() :: _processes()]:
            share = token_losses(self.llm, [self.rows[i] for i in part]).sum() / wanted
            share.backward()
            loss += share.item()
        loss = _add_up(self.weights, loss)
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
        self.history[-1]["dev"] = float(_mean_losses(self.llm, self.held, 768).mean())
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
        if _rank() > 0:
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
        except Exception:  # whatever is wrong with the file, training can start anew
            return
        with torch.no_grad():
            for weight, kept in zip(self.weights, state["weights"], strict=True):
                weight.copy_(kept)
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.history, self.tokens, self.seconds = state["progress"]


# --- several processes ----------------------------------------------------------------------------


def _rank() -> int:
    """This process's number, 0 when it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def _processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _from_first(said: Any) -> Any:
    """What the first process says, in all of them; each waits for it."""
    if _processes() == 1:
        return said
    box = [said]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _add_up(weights: Sequence[torch.Tensor], loss: float) -> float:
    """Add up all processes' gradients, in each of them, and their losses, which it returns."""
    if _processes() == 1:
        return loss
    for weight in weights:
        if weight.grad is None:  # a step of fewer passes than processes
            weight.grad = torch.zeros_like(weight)
    grads = [weight.grad.flatten() for weight in weights if weight.grad is not None]
    line = torch.cat([*grads, torch.tensor([loss], device=weights[0].device)])
    dist.all_reduce(line)  # one message in place of hundreds
    for weight, grad in zip(weights, line[:-1].split([len(g) for g in grads]), strict=True):
        weight.grad = grad.view_as(weight)
    return float(line[-1])


def _has_gpu() -> bool:
    """Whether each process of this machine has a GPU of its own; else all take the CPU."""
    return torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def _on_its_device(llm: LanguageModel) -> Iterator[None]:
    """Train on this process's GPU where there is one; the model comes back to where it was."""
    before = llm.model.device
    if _has_gpu():
        llm.model.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))))
    try:
        yield
    finally:
        llm.model.to(before)


def main(file: str) -> None:
    """Train what a JSON file says, ``{"examples": [chats], "recipe": {}, "dev": []}``.

    The first process prints the adapter's folder.
    """
    job = json.loads(Path(file).read_text(encoding="utf8"))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if _has_gpu():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if _has_gpu() else "gloo")
    llm = load_generator()
    if not isinstance(llm, LanguageModel):
        raise FinetuningError("An endpoint cannot be trained here: name a local model.")
    recipe: dict[str, Any] = {
        name: tuple(value) if name == "targets" else value for name, value in job["recipe"].items()
    }
    adapter = train(llm, job["examples"], Recipe(**recipe), job.get("dev", []))
    if _rank() == 0:
        print(adapter.folder)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
