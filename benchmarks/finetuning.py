"""LoRA training: the course's engine against TRL's SFTTrainer.

The same model, e-mails, adapter (rank 8 on all linear layers), learning rate, schedule, seed and
number of steps. Each training is a process of its own, so that its peak memory is its own. TRL
runs twice: as it comes (bfloat16 autocast and gradient checkpointing), and in float32 without
checkpointing, which suits a CPU better. The loss is measured afterwards on e-mails that none of
them saw, by one function for all. The note says what bounds ours: its floating-point operations a
second, against what this machine does in plain matrix products.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Measured, Row, compare, in_turns
from course_utils.generate.prompting import Chat
from course_utils.lab.claims import peak_bytes
from course_utils.models.generator import LanguageModel, load_generator
from course_utils.tasks.emails import load_emails
from course_utils.tune import adapters, encoding, losses, recipes, training
from course_utils.tune.recipes import Recipe

RIVALS = ("trl",)
ARMS = ("course", "TRL, float32", "TRL as it comes")
BATCH = 8
HELD = 40


def measure(small: bool = False) -> list[Row]:
    """Tokens a second, peak memory and held-out loss of each arm, and what bounds ours."""
    examples = 8 if small else 32
    arms: dict[str, Callable[[], Measured]] = {arm: partial(alone, arm, examples) for arm in ARMS}
    measured = in_turns(arms, rounds=1 if small else 3)
    rate = count_operations(examples) / 1e9
    rate *= median(one["tokens a second"] for one in measured["course"]) / tokens_of(examples)
    best = matrix_rate(2048, 2048, 2048)
    layer = matrix_rate(Recipe().tokens_per_pass, 576, 1536)
    note = (
        f"{examples} e-mails, one epoch; {rate:.0f} G operations a second in training, "
        f"{best:.0f} G in a large matrix product ({rate / best:.0%}), {layer:.0f} G in one of a "
        f"layer's size ({rate / layer:.0%})"
    )
    first = compare(measured, *ARMS[:2], note=note)
    return first + compare(measured, ARMS[0], ARMS[2])


def alone(arm: str, examples: int) -> Measured:
    """One training in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.finetuning", arm, str(examples), str(out)]
        subprocess.run(command, check=True, env=os.environ | {"COURSE_PROGRESS": "0"})
        return json.loads(out.read_text())


def tokens_of(examples: int) -> int:
    """Tokens of one epoch."""
    llm = load_generator()
    assert isinstance(llm, LanguageModel)
    return sum(len(encoding.encode(llm, chat).ids) for chat in chats(examples)[0])


def chats(examples: int) -> tuple[list[Chat], list[Chat]]:
    """E-mails to learn from, and others to measure the loss on."""
    every: list[Chat] = [
        [
            {"role": "system", "content": "Write the e-mail."},
            {"role": "user", "content": email.brief},
            {"role": "assistant", "content": email.email},
        ]
        for email in load_emails()
    ]
    return every[HELD::7][:examples], every[:HELD]


def run_arm(arm: str, examples: int, out: Path) -> None:
    """Train one arm in this process and write what was measured."""
    llm = load_generator()
    assert isinstance(llm, LanguageModel)
    learned, held = chats(examples)
    lengths = [len(encoding.encode(llm, chat).ids) for chat in learned]
    reset_peak()
    train = train_course if arm == "course" else train_trl
    seconds, steps, folder = train(llm, learned, lengths, plain=arm != "TRL as it comes")
    peak = peak_bytes() / 1e9
    with adapters.attached(llm, recipes.Adapter(folder, Recipe(), [], 0, 0.0)):
        loss = float(losses.loss_on(llm, held).mean())
    measured = {
        "tokens a second": sum(lengths) / seconds,
        "peak memory, GB": peak,
        "held-out loss": loss,
        "steps": steps,
    }
    out.write_text(json.dumps(measured))


def recipe_for(lengths: list[int]) -> Recipe:
    """One epoch in as many steps as batches of BATCH make."""
    budget, wanted = max(lengths), math.ceil(len(lengths) / BATCH)
    while True:
        recipe = Recipe(epochs=1, tokens_per_step=budget)
        if len(encoding.plan(lengths, recipe)) <= wanted:
            return recipe
        budget += 8


def train_course(
    llm: LanguageModel, learned: list[Chat], lengths: list[int], plain: bool
) -> tuple[float, int, Path]:
    os.environ["COURSE_CACHE"] = tempfile.mkdtemp()
    adapter = training.train(llm, learned, recipe_for(lengths))
    return adapter.seconds, len(adapter.history), adapter.folder


def train_trl(
    llm: LanguageModel, learned: list[Chat], lengths: list[int], plain: bool
) -> tuple[float, int, Path]:
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from datasets import Dataset  # type: ignore[attr-defined]  # the package, not our folder

    recipe = recipe_for(lengths)
    settings: dict[str, Any] = {"bf16": False, "gradient_checkpointing": False} if plain else {}
    folder = Path(tempfile.mkdtemp())
    llm.tokenizer.padding_side = "right"
    trainer = SFTTrainer(
        model=llm.model,
        processing_class=llm.tokenizer,
        train_dataset=Dataset.from_list(
            [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in learned]
        ),
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=str(folder / "run"),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            **settings,
        ),
    )
    # Its own warm-up begins with a step at a rate of 0, which is much where there are four.
    total = math.ceil(len(learned) / BATCH)
    trainer.create_optimizer()
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        trainer.optimizer,
        lambda step: encoding.learning_rate(step, total, recipe) / recipe.learning_rate,
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    trainer.save_model(str(folder / "adapter"))
    steps = int(trainer.state.global_step)
    trainer.model.unload()
    return seconds, steps, folder / "adapter"


def reset_peak() -> None:
    """Forget what loading the model peaked at (Linux)."""
    if (refs := Path("/proc/self/clear_refs")).exists():
        refs.write_text("5")


def count_operations(examples: int) -> float:
    """Floating-point operations of our training, by torch's own counter."""
    llm = load_generator()
    assert isinstance(llm, LanguageModel)
    learned, _ = chats(examples)
    rows = [encoding.encode(llm, chat) for chat in learned]
    lengths = [len(row.ids) for row in rows]
    recipe = recipe_for(lengths)
    os.environ["COURSE_CACHE"] = tempfile.mkdtemp()
    some = sorted(range(len(rows)), key=lambda row: lengths[row])[:: max(1, len(rows) // 4)]
    with FlopCounterMode(display=False) as counter:
        training.train(llm, [learned[row] for row in some], recipe)
    return counter.get_total_flops() * sum(lengths) / sum(lengths[row] for row in some)


def matrix_rate(m: int, k: int, n: int) -> float:
    """Billions of operations a second in products of an (m, k) and a (k, n) float32 matrix."""
    a, b = torch.randn(m, k), torch.randn(k, n)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        _ = a @ b
        times.append(time.perf_counter() - began)
    return 2 * m * k * n / median(times) / 1e9


if __name__ == "__main__":
    run_arm(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
