"""Train in several processes, here or on several machines. Notebook 10.

Under torchrun the processes share each step's passes and add up their gradients, so they train what
one would::

    torchrun --nproc-per-node 2 -m course_utils.scale.processes FILE.json
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from course_utils.models.generator import LanguageModel, load_generator
from course_utils.tune.recipes import FinetuningError, Recipe
from course_utils.tune.training import train
from course_utils.tune.workers import Alone


class Torchrun(Alone):
    """The processes that torchrun started; each has a GPU of its own, or all use the CPU."""

    def __init__(self) -> None:
        self.own_gpu = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
        if self.own_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if self.own_gpu else "gloo")
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def from_first(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0)  # each process waits for the first
        return box[0]

    def add_up(self, weights: Sequence[torch.Tensor], loss: float) -> float:
        grads = []
        for weight in weights:
            if weight.grad is None:  # a step of fewer passes than processes
                weight.grad = torch.zeros_like(weight)
            grads.append(weight.grad.flatten())
        line = torch.cat([*grads, torch.tensor([loss], device=weights[0].device)])
        dist.all_reduce(line)  # one message instead of hundreds
        for weight, grad in zip(weights, line[:-1].split([len(g) for g in grads]), strict=True):
            weight.grad = grad.view_as(weight)
        return float(line[-1])

    def device(self) -> torch.device | None:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if self.own_gpu else None


def run_job(file: str) -> None:
    """Train what a JSON file says, ``{"examples": [chats], "recipe": {}, "dev": []}``.

    The first process prints the adapter's folder.

    Raises:
        FinetuningError: the generator is an endpoint, which cannot be trained here.
    """
    job = json.loads(Path(file).read_text(encoding="utf8"))
    workers = Torchrun() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone()
    llm = load_generator()
    if not isinstance(llm, LanguageModel):
        raise FinetuningError("An endpoint cannot be trained here: name a local model.")
    recipe: dict[str, Any] = dict(job["recipe"])
    if "targets" in recipe:
        recipe["targets"] = tuple(recipe["targets"])
    adapter = train(llm, job["examples"], Recipe(**recipe), job.get("dev", []), workers)
    if workers.rank == 0:
        print(adapter.folder)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    run_job(sys.argv[1])
