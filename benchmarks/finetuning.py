"""LoRA training: the course's engine against TRL's SFTTrainer.

    python -m pip install trl
    python benchmarks/finetuning.py [EXAMPLES] [ROUNDS]

The same model, e-mails, adapter (rank 8 on all linear layers), learning rate, schedule, seed and
number of steps. Each training is a process of its own, in turns, so that its peak memory is its
own. TRL runs twice: as it comes (bfloat16 autocast and gradient checkpointing), and in float32
without checkpointing, which suits a CPU better. The loss is measured afterwards on e-mails that
none of them saw, by one function for all. Then the floating-point operations of a training are
counted, and set against what this machine does in plain matrix products.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from course_utils import finetuning
from course_utils.claims import peak_bytes
from course_utils.corpus import load_emails
from course_utils.finetuning import Chat, Recipe
from course_utils.models import LanguageModel, load_generator

ARMS = ("course", "TRL, float32", "TRL as it comes")
BATCH = 8
HELD = 40


def main(examples: int, rounds: int) -> None:
    """Print tokens a second, peak memory and held-out loss of each arm, and what bounds ours."""
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm in ARMS:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "result.json"
                command = [sys.executable, __file__, "--arm", arm, str(examples), str(out)]
                subprocess.run(command, check=True, env=os.environ | {"COURSE_PROGRESS": "0"})
                results[arm].append(json.loads(out.read_text()))
            print(arm, json.dumps(results[arm][-1]), flush=True)
    ours = results["course"]
    for arm, theirs in results.items():
        pairs = list(zip(ours, theirs, strict=True))
        speed = median(o["tokens"] / o["seconds"] / (t["tokens"] / t["seconds"]) for o, t in pairs)
        memory = median(o["peak"] / t["peak"] for o, t in pairs)
        loss = median(o["loss"] - t["loss"] for o, t in pairs)
        print(
            f"course against {arm}: {speed:.2f} times the tokens a second, "
            f"{memory:.2f} of the peak memory, held-out loss {loss:+.3f}"
        )
    operations = count_operations(examples)
    rate = operations / median(one["seconds"] for one in ours) / 1e9
    best = matrix_rate(2048, 2048, 2048)
    layer = matrix_rate(Recipe().tokens_per_pass, 576, 1536)
    print(
        f"{operations / 1e12:.1f} T operations, {rate:.0f} G a second in training; this machine "
        f"does {best:.0f} G in a large matrix product ({rate / best:.0%}), {layer:.0f} G in one "
        f"of a layer's size ({rate / layer:.0%})"
    )


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
    lengths = [len(finetuning.encode(llm, chat).ids) for chat in learned]
    reset_peak()
    train = train_course if arm == "course" else train_trl
    seconds, steps, folder = train(llm, learned, lengths, plain=arm != "TRL as it comes")
    measured = {"seconds": seconds, "steps": steps, "tokens": sum(lengths), "peak": peak_bytes()}
    with finetuning.attached(llm, finetuning.Adapter(folder, Recipe(), [], 0, 0.0)):
        measured["loss"] = float(finetuning.loss_on(llm, held).mean())
    out.write_text(json.dumps(measured))


def recipe_for(lengths: list[int]) -> Recipe:
    """One epoch in as many steps as batches of BATCH make."""
    budget, wanted = max(lengths), math.ceil(len(lengths) / BATCH)
    while True:
        recipe = Recipe(epochs=1, tokens_per_step=budget)
        if len(finetuning.plan(lengths, recipe)) <= wanted:
            return recipe
        budget += 8


def train_course(
    llm: LanguageModel, learned: list[Chat], lengths: list[int], plain: bool
) -> tuple[float, int, Path]:
    os.environ["COURSE_CACHE"] = tempfile.mkdtemp()
    adapter = finetuning.train(llm, learned, recipe_for(lengths))
    return adapter.seconds, len(adapter.history), adapter.folder


def train_trl(
    llm: LanguageModel, learned: list[Chat], lengths: list[int], plain: bool
) -> tuple[float, int, Path]:
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from datasets import Dataset

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
            warmup_steps=recipe.warm_up,
            lr_scheduler_type="linear",
            seed=recipe.seed,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            **settings,
        ),
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
    rows = [finetuning.encode(llm, chat) for chat in learned]
    lengths = [len(row.ids) for row in rows]
    recipe = recipe_for(lengths)
    os.environ["COURSE_CACHE"] = tempfile.mkdtemp()
    some = sorted(range(len(rows)), key=lambda row: lengths[row])[:: max(1, len(rows) // 4)]
    with FlopCounterMode(display=False) as counter:
        finetuning.train(llm, [learned[row] for row in some], recipe)
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
    if sys.argv[1:2] == ["--arm"]:
        run_arm(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        numbers = [int(each) for each in sys.argv[1:]]
        main(numbers[0] if numbers else 64, numbers[1] if len(numbers) > 1 else 3)
