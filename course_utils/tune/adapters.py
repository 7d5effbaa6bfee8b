"""Attach an adapter to a model, and take it off again. Notebook 06."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear

from course_utils.models.generator import LanguageModel
from course_utils.models.weights import release_memory
from course_utils.tune.fused import can_fuse, fused_forward, fused_gated_forward, is_gated
from course_utils.tune.recipes import Adapter, FinetuningError, Recipe


@contextmanager
def attached(llm: LanguageModel, adapter: Adapter) -> Iterator[LanguageModel]:
    """Switch an adapter on within a ``with``; afterwards the model is exactly what it was.

    Args:
        llm: the model that the adapter was trained on.
        adapter: what ``train`` returned.
    """
    require_bare(llm)
    with quiet_peft():
        wrapped = PeftModel.from_pretrained(llm.model, str(adapter.folder))
    with removed_after(llm, wrapped):
        yield llm


@contextmanager
def removed_after(llm: LanguageModel, wrapped: Any) -> Iterator[None]:
    """Compute adapters faster, and remove them at the end, whatever happens."""
    for module in llm.model.modules():
        if can_fuse(module):
            module.forward = MethodType(fused_forward, module)
    gated = [module for module in llm.model.modules() if is_gated(module)]
    for module in gated:
        module.forward = MethodType(fused_gated_forward, module)
    try:
        yield
    finally:
        for module in gated:
            del module.forward  # what its class does
        wrapped.unload()
        vars(llm.model).pop("peft_config", None)
        release_memory()


@contextmanager
def recomputed(llm: LanguageModel, wanted: bool) -> Iterator[None]:
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


def require_bare(llm: LanguageModel) -> None:
    if any(isinstance(module, LoraLinear) for module in llm.model.modules()):
        raise FinetuningError("An adapter is attached already: leave its `with attached(…)` first.")


@contextmanager
def quiet_peft() -> Iterator[None]:
    """peft asks transformers by an old name, and a learner can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def load_adapter(folder: Path) -> Adapter:
    """An adapter that was trained before, here or elsewhere.

    Args:
        folder: as ``train`` wrote it.
    """
    record = json.loads((folder / "training.json").read_text(encoding="utf8"))
    recipe = record.pop("recipe")
    return Adapter(folder, Recipe(**recipe | {"targets": tuple(recipe["targets"])}), **record)
