"""A language model's fingerprint is remembered, and follows every change of its answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from course_utils.models.generator import LanguageModel
from course_utils.tune.adapters import attached
from course_utils.tune.recipes import Adapter, Recipe


def afresh(llm: LanguageModel) -> str:
    """The fingerprint of a model that remembers none."""
    return replace(llm).fingerprint()


def wrap(llm: LanguageModel, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(llm.model, config)


def layers(llm: LanguageModel) -> list[Any]:
    return [module for module in llm.model.modules() if hasattr(module, "lora_A")]


def test_a_model_that_does_not_change_is_run_once(llm: LanguageModel) -> None:
    runs: list[int] = []
    llm.model.register_forward_hook(lambda *_: runs.append(1))
    assert llm.fingerprint() == llm.fingerprint()
    assert len(runs) == 1
    wrapped = wrap(llm)
    assert llm.fingerprint() == llm.fingerprint()
    wrapped.unload()
    assert llm.fingerprint() == llm.fingerprint()
    assert len(runs) == 3


def test_an_adapter_that_comes_and_goes_is_noticed(llm: LanguageModel) -> None:
    bare = llm.fingerprint()
    prints = {bare}
    for seed in range(5):  # the next one's weights may lie where the last one's were
        wrapped = wrap(llm, seed)
        assert llm.fingerprint() == afresh(llm)
        prints.add(llm.fingerprint())
        wrapped.unload()
        del wrapped
        assert llm.fingerprint() == bare
    assert len(prints) == 6


def test_attached_is_noticed(llm: LanguageModel, tmp_path: Path) -> None:
    bare = llm.fingerprint()
    other = LanguageModel("copy", copy.deepcopy(llm.model), llm.tokenizer)
    wrap(other).save_pretrained(str(tmp_path))
    with attached(llm, Adapter(tmp_path, Recipe(), [], 1, 1.0)):
        assert llm.fingerprint() == afresh(llm) != bare
    assert llm.fingerprint() == bare


def test_an_adapter_merged_between_two_uses_is_noticed(llm: LanguageModel) -> None:
    """The parameters are the same tensors as before, and peft has changed them uncounted."""
    before = llm.fingerprint()
    wrap(llm).merge_and_unload()
    assert llm.fingerprint() == afresh(llm) != before


def test_unmerging_is_noticed(llm: LanguageModel) -> None:
    wrapped = wrap(llm)
    wrapped.merge_adapter()
    merged = llm.fingerprint()
    wrapped.unmerge_adapter()
    assert llm.fingerprint() == afresh(llm) != merged


def scale(llm: LanguageModel, wrapped: Any) -> None:
    for layer in layers(llm):
        layer.scaling["default"] *= 2


def train(llm: LanguageModel, wrapped: Any) -> None:
    weights = [weight for weight in llm.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    llm.model(torch.arange(8)[None]).logits.square().sum().backward()
    optimizer.step()


def merge(llm: LanguageModel, wrapped: Any) -> None:
    """Rounding changes the answers a little; what was merged can be changed without a trace."""
    wrapped.merge_adapter()


def merge_for_good(llm: LanguageModel, wrapped: Any) -> None:
    wrapped.merge_and_unload()


def switch_off(llm: LanguageModel, wrapped: Any) -> None:
    wrapped.base_model.disable_adapter_layers()


def drop_out(llm: LanguageModel, wrapped: Any) -> None:
    for layer in layers(llm):
        layer.lora_dropout["default"] = torch.nn.Dropout(1.0)
    llm.model.train()


def change_data(llm: LanguageModel, wrapped: Any) -> None:
    llm.model.model.layers[0].mlp.up_proj.base_layer.weight.data += 0.5


def replace_data(llm: LanguageModel, wrapped: Any) -> None:
    weight = llm.model.model.layers[0].mlp.up_proj.base_layer.weight
    weight.data = weight.data.clone()
    weight.data[3, 3] += 0.5  # too small a change to be seen, if the tensor were the same


def other_template(llm: LanguageModel, wrapped: Any) -> None:
    llm.tokenizer.chat_template = "{{ messages }}"


@pytest.mark.parametrize(
    "change",
    [
        *(scale, train, merge, merge_for_good, switch_off, drop_out),
        *(change_data, replace_data, other_template),
    ],
)
def test_every_change_is_noticed(
    llm: LanguageModel, change: Callable[[LanguageModel, Any], None]
) -> None:
    wrapped = wrap(llm)
    before = llm.fingerprint()
    change(llm, wrapped)
    assert llm.fingerprint() == afresh(llm) != before


def test_another_model_in_its_place_is_noticed(llm: LanguageModel) -> None:
    before = llm.fingerprint()
    llm.model = copy.deepcopy(llm.model)
    assert llm.fingerprint() == before
    with torch.no_grad():
        llm.model.lm_head.weight[1, 1] += 1
    assert llm.fingerprint() == afresh(llm) != before
