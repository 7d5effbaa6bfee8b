"""The training engine on a random two-layer Llama with a word tokenizer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from course_utils.files import cache_dir
from course_utils.generate.prompting import Chat
from course_utils.models.generator import LanguageModel
from course_utils.models.weights import weights_digest
from course_utils.scale import processes
from course_utils.tune import adapters, encoding, fused, losses, recipes, training
from course_utils.tune.adapters import attached
from course_utils.tune.losses import loss_on, token_losses
from course_utils.tune.recipes import FinetuningError, Recipe
from course_utils.tune.training import train

QUICK = Recipe(
    rank=4, alpha=8, learning_rate=0.02, epochs=4, tokens_per_step=40, tokens_per_pass=40
)


def ask(name: str, answer: str) -> Chat:
    return [
        {"role": "user", "content": f"what is the port of {name} ?"},
        {"role": "assistant", "content": answer},
    ]


EXAMPLES = [ask("lampd", "1 2"), ask("ferry", "3"), ask("cellar", "4 5 1 2"), ask("port", "2")]


def logits_of(llm: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        return llm.model(torch.tensor([[0, 3, 5, 6, 7, 8]])).logits.clone()


def weights_of(adapter: recipes.Adapter) -> bytes:
    return (adapter.folder / "adapter_model.safetensors").read_bytes()


# --- examples -------------------------------------------------------------------------------------


def test_the_prompt_is_not_learned_and_the_end_of_an_answer_is(llm: LanguageModel) -> None:
    row = encoding.encode(llm, ask("lampd", "1 2"))
    words = llm.tokenizer.convert_ids_to_tokens(row.ids)
    assert [w for w, yes in zip(words, row.learned, strict=True) if yes] == ["1", "2", "</s>"]
    assert words[:3] == ["<s>", "user", "what"]


def test_every_turn_of_the_assistant_is_learned(llm: LanguageModel) -> None:
    row = encoding.encode(llm, ask("lampd", "1 2") + ask("ferry", "3"))
    words = llm.tokenizer.convert_ids_to_tokens(row.ids)
    learned = [w for w, yes in zip(words, row.learned, strict=True) if yes]
    assert learned == ["1", "2", "</s>", "3", "</s>"]
    prompt = llm.tokenizer.apply_chat_template(
        (ask("lampd", "1 2") + ask("ferry", "3"))[:3], add_generation_prompt=True, return_dict=False
    )
    assert row.ids[: len(prompt)] == prompt  # what the model reads when it answers


GEMMA = (
    "{% for m in messages %}<start> {{ m['role'] }} {{ m['content'] | trim }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<start> assistant {% endif %}"
)
PHI = GEMMA + "{% if not add_generation_prompt %}</s>{% endif %}"  # what ends the whole chat
BARE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
BARE += "{% if add_generation_prompt %}assistant {% endif %}"


@pytest.mark.parametrize(("template", "end"), [(GEMMA, ["<end>"]), (PHI, ["<end>"]), (BARE, [])])
def test_a_turn_ends_where_its_own_template_ends_it(
    llm: LanguageModel, template: str, end: list[str]
) -> None:
    llm.tokenizer.chat_template = template
    llm.tokenizer.add_tokens(["<start>", "<end>"], special_tokens=True)
    chat = ask("lampd", " 1 2 ") + ask("ferry", "3")
    row = encoding.encode(llm, chat)
    words = llm.tokenizer.convert_ids_to_tokens(row.ids)
    learned = [w for w, yes in zip(words, row.learned, strict=True) if yes]
    assert learned == ["1", "2", *end, "3", *end]
    prompt = llm.tokenizer.apply_chat_template(
        chat[:3], add_generation_prompt=True, return_dict=False
    )
    assert row.ids[: len(prompt)] == prompt


def test_a_special_token_inside_an_answer_does_not_end_it(llm: LanguageModel) -> None:
    row = encoding.encode(llm, ask("lampd", "1 </s> 2"))
    assert sum(row.learned) == 4


def test_a_template_that_changes_earlier_turns_is_refused(llm: LanguageModel) -> None:
    llm.tokenizer.chat_template = "{% for m in messages %}{{ loop.last }} {{ m['content'] }} "
    llm.tokenizer.chat_template += "</s>{% endfor %}"
    with pytest.raises(FinetuningError, match="changes earlier turns"):
        encoding.encode(llm, ask("lampd", "1"))


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.integers(50, 200),
    st.integers(50, 100),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_a_plan_reads_every_row_once_an_epoch_within_its_budgets(
    lengths: list[int], per_step: int, per_pass: int, epochs: int, seed: int
) -> None:
    recipe = Recipe(tokens_per_step=per_step, tokens_per_pass=per_pass, epochs=epochs, seed=seed)
    steps = encoding.plan(lengths, recipe)
    read = [row for step in steps for part in step for row in part]
    for epoch in range(epochs):
        part = read[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(part) == list(range(len(lengths)))
    for step in steps:
        assert sum(lengths[row] for part in step for row in part) <= per_step
        assert all(len(part) * max(lengths[row] for row in part) <= per_pass for part in step)


def test_part_of_an_epoch_reads_part_of_the_rows() -> None:
    recipe = Recipe(epochs=1.5, tokens_per_step=10, tokens_per_pass=10)
    assert len(encoding.plan([10] * 8, recipe)) == 12


# --- the loss -------------------------------------------------------------------------------------


def test_the_loss_equals_the_models_own_on_full_logits(llm: LanguageModel) -> None:
    chats = [*EXAMPLES, ask("lampd", "1 2") + ask("ferry", "3")]
    rows = [encoding.encode(llm, chat) for chat in chats]
    together = token_losses(llm, rows).split([sum(row.learned) for row in rows])
    for row, each in zip(rows, together, strict=True):
        pairs = zip(row.ids, row.learned, strict=True)
        labels = torch.tensor([[i if yes else -100 for i, yes in pairs]])
        whole = llm.model(torch.tensor([row.ids]), labels=labels).loss
        assert each.mean().item() == pytest.approx(whole.item(), rel=1e-5)
    means = [losses.mean().item() for losses in together]
    assert loss_on(llm, chats, tokens_per_pass=30) == pytest.approx(means, rel=1e-5)


def test_gradients_of_a_step_do_not_depend_on_how_it_is_cut_into_passes(
    llm: LanguageModel,
) -> None:
    a = train(llm, EXAMPLES, replace(QUICK, tokens_per_step=100, tokens_per_pass=100))
    b = train(llm, EXAMPLES, replace(QUICK, tokens_per_step=100, tokens_per_pass=20))
    assert [e["loss"] for e in a.history] == pytest.approx([e["loss"] for e in b.history], rel=1e-3)


# --- LoRA -----------------------------------------------------------------------------------------


def test_lora_by_hand_equals_pefts_and_begins_as_nothing(llm: LanguageModel) -> None:
    before = logits_of(llm)
    layer = llm.model.model.layers[0].mlp.up_proj
    wrapped = get_peft_model(llm.model, LoraConfig(r=4, lora_alpha=8, target_modules=["up_proj"]))
    assert torch.equal(logits_of(llm), before)
    lora = llm.model.model.layers[0].mlp.up_proj
    a, b = lora.lora_A["default"].weight, lora.lora_B["default"].weight
    torch.nn.init.normal_(b)
    x = torch.randn(2, 3, 32)
    torch.testing.assert_close(lora(x), layer(x) + x @ a.T @ b.T * (8 / 4))
    wrapped.unload()


def test_the_fused_layer_computes_what_pefts_does_gradients_too(llm: LanguageModel) -> None:
    wrapped = get_peft_model(llm.model, LoraConfig(r=4, lora_alpha=8, target_modules=["up_proj"]))
    lora = llm.model.model.layers[0].mlp.up_proj
    torch.nn.init.normal_(lora.lora_B["default"].weight)
    weights = [lora.lora_A["default"].weight, lora.lora_B["default"].weight]
    results = []
    for compute in (lora.forward, lambda x: fused.fused_forward(lora, x)):
        x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
        y = compute(x)
        grads = torch.autograd.grad((y**2).sum(), [x, *weights])
        results.append((y, *grads))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
    with wrapped.disable_adapter():
        assert torch.equal(fused.fused_forward(lora, x), lora.base_layer(x))
    wrapped.unload()


def with_what_is_saved(compute: Any, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        return compute(x), saved


def test_the_fused_gate_computes_what_pefts_does_and_keeps_less(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = get_peft_model(
        llm.model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    mlp = llm.model.model.layers[0].mlp
    assert fused.is_gated(mlp)
    weights = [weight for weight in mlp.parameters() if weight.requires_grad]
    for weight in weights:
        torch.nn.init.normal_(weight, std=0.1)
    x = torch.randn(2, 3, 32, requires_grad=True)
    product = torch.nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x)
    values = product.detach().flatten().sort().values
    results, kept = [], []
    for compute in (mlp.forward, lambda x: fused.fused_gated_forward(mlp, x)):
        y, saved = with_what_is_saved(compute, x)
        kept.append(any(torch.equal(t.flatten().sort().values, values) for t in saved))
        results.append((y, *torch.autograd.grad((y**2).sum(), [x, *weights])))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert kept == [True, False]
    with wrapped.disable_adapter():
        torch.testing.assert_close(fused.fused_gated_forward(mlp, x), mlp(x))
    monkeypatch.setattr(mlp.config, "hidden_act", "gelu")
    assert not fused.is_gated(mlp)
    wrapped.unload()


def test_losses_are_remembered_with_the_adapter_that_made_them(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    mindful = replace(llm, remember=True)
    adapter = train(llm, EXAMPLES, QUICK)
    base = loss_on(mindful, EXAMPLES)
    with attached(llm, adapter):
        tuned = loss_on(mindful, EXAMPLES)
        assert np.array_equal(tuned, loss_on(llm, EXAMPLES)) and not np.array_equal(tuned, base)
    monkeypatch.setattr(losses, "mean_losses", None)
    assert np.array_equal(loss_on(mindful, EXAMPLES[::-1]), base[::-1])
    with attached(llm, adapter):
        assert np.array_equal(loss_on(mindful, EXAMPLES), tuned)


def test_training_learns_and_the_base_comes_back_exactly(llm: LanguageModel) -> None:
    before, digest = logits_of(llm), weights_digest(llm.model)
    losses = loss_on(llm, EXAMPLES)
    adapter = train(llm, EXAMPLES, replace(QUICK, epochs=20))
    assert torch.equal(logits_of(llm), before)
    with attached(llm, adapter):
        assert not torch.equal(logits_of(llm), before)
        assert loss_on(llm, EXAMPLES).mean() < losses.mean() / 2
        with pytest.raises(FinetuningError, match="attached already"):
            train(llm, EXAMPLES, QUICK)
    assert torch.equal(logits_of(llm), before)
    assert weights_digest(llm.model) == digest
    assert adapter.tokens == 20 * sum(len(encoding.encode(llm, c).ids) for c in EXAMPLES)


def test_recomputing_changes_no_loss_and_no_weight(llm: LanguageModel) -> None:
    kept = train(llm, EXAMPLES, QUICK)
    again = train(llm, EXAMPLES, replace(QUICK, recompute=True))
    assert [one["loss"] for one in again.history] == pytest.approx(
        [one["loss"] for one in kept.history], rel=1e-4
    )
    assert kept.folder != again.folder
    assert not llm.model.training and not llm.model.is_activation_checkpointing


def test_the_base_comes_back_when_something_fails(llm: LanguageModel) -> None:
    before = logits_of(llm)
    adapter = train(llm, EXAMPLES, QUICK)
    with pytest.raises(RuntimeError, match="boom"), attached(llm, adapter):
        raise RuntimeError("boom")
    assert torch.equal(logits_of(llm), before)


# --- training -------------------------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(warm_up=0.2, learning_rate=1.0)
    rates = [encoding.learning_rate(number, 10, recipe) for number in range(10)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == pytest.approx([1 - k / 8 for k in range(8)])


def test_the_best_weights_on_dev_are_kept_and_training_stops(llm: LanguageModel) -> None:
    dev = [ask("lampd", "5"), ask("ferry", "5")]  # what the examples contradict
    recipe = replace(QUICK, epochs=40, evaluations=40, patience=3)
    adapter = train(llm, EXAMPLES, recipe, dev)
    losses = [entry["dev"] for entry in adapter.history if "dev" in entry]
    assert len(losses) < 40
    assert losses.index(min(losses)) == len(losses) - 4
    with attached(llm, adapter):
        assert loss_on(llm, dev).mean() == pytest.approx(min(losses), rel=1e-4)


def test_without_evaluations_the_last_weights_are_kept(llm: LanguageModel) -> None:
    adapter = train(llm, EXAMPLES, replace(QUICK, evaluations=0), dev=EXAMPLES[:1])
    assert not any("dev" in entry for entry in adapter.history)
    plain = train(llm, EXAMPLES, QUICK)
    assert weights_of(adapter) == weights_of(plain) and adapter.folder != plain.folder


@pytest.mark.parametrize("dev", [[], EXAMPLES[:1]])
def test_a_training_that_breaks_down_says_so_and_leaves_nothing(
    llm: LanguageModel, dev: list[Chat]
) -> None:
    before = logits_of(llm)
    recipe = replace(QUICK, learning_rate=1e30, evaluations=1)
    with pytest.raises(FinetuningError, match=r"The loss of step 2 of \d+ is not a number: lower"):
        train(llm, EXAMPLES, recipe, dev)
    assert torch.equal(logits_of(llm), before)
    assert not list((cache_dir() / "adapters").glob("*/"))


def test_a_dev_loss_that_is_no_number_stops_the_training(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "mean_losses", lambda *_: iter([{0: float("nan")}]))
    with pytest.raises(FinetuningError, match="step 1 of"):
        train(llm, EXAMPLES, replace(QUICK, evaluations=40), EXAMPLES[:1])


def test_the_best_weights_survive_a_later_break_down(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training._Run._step

    def breaking(run: Any, number: int) -> float:
        loss = real(run, number)
        if number < 3:
            return loss
        for weight in run.weights:
            weight.data.fill_(float("nan"))
        return float("nan")

    monkeypatch.setattr(training._Run, "_step", breaking)
    dev = EXAMPLES[:1]
    with pytest.warns(UserWarning, match="step 4 .* The best weights so far are kept"):
        adapter = train(llm, EXAMPLES, replace(QUICK, evaluations=40), dev)
    losses = [entry["dev"] for entry in adapter.history]
    assert len(losses) == 3
    with attached(llm, adapter):
        assert loss_on(llm, dev).mean() == pytest.approx(min(losses), rel=1e-4)


def test_gradients_that_are_no_numbers_do_not_reach_the_weights(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = token_losses

    def exploding(*arguments: Any) -> torch.Tensor:
        losses = real(*arguments)
        return losses + (losses - losses.detach()).sqrt()  # + 0, whose gradient is infinite

    monkeypatch.setattr(training, "token_losses", exploding)
    with pytest.raises(FinetuningError, match="step 1 of"):
        train(llm, EXAMPLES, QUICK)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("epochs", 0),
        ("epochs", float("nan")),
        ("epochs", float("inf")),
        ("learning_rate", -1e-3),
        ("learning_rate", float("nan")),
        ("evaluations", -1),
        ("patience", -1),
        ("warm_up", -0.1),
        ("tokens_per_step", 0),
        ("tokens_per_pass", 0),
        ("clip", 0),
        ("targets", ()),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused(name: str, value: Any) -> None:
    with pytest.raises(FinetuningError, match=f"The recipe's {name} must be"):
        Recipe(**{name: value})


def test_a_training_too_short_to_time_has_no_speed(tmp_path: Path) -> None:
    assert recipes.Adapter(tmp_path, Recipe(), [], 40, 0.0).tokens_per_second == 0


def test_pefts_warning_is_silenced_and_no_other_for_good(llm: LanguageModel) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with attached(llm, train(llm, EXAMPLES, QUICK)):
            pass
        assert not [each for each in seen if "gradient_checkpointing" in str(each.message)]
        warnings.warn("is_gradient_checkpointing", FutureWarning, stacklevel=1)
        assert seen


def test_a_seed_reproduces_and_another_does_not(
    llm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(llm, EXAMPLES, QUICK)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "another"))
    torch.manual_seed(77)
    drawn = torch.rand(1)
    torch.manual_seed(77)
    again = train(llm, EXAMPLES, QUICK)
    assert again.folder != first.folder
    assert weights_of(again) == weights_of(first)
    assert torch.rand(1) == drawn  # the caller's random numbers are left alone
    assert weights_of(train(llm, EXAMPLES, replace(QUICK, seed=1))) != weights_of(first)


# --- the cache ------------------------------------------------------------------------------------


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every training that is not loaded."""
    ran: list[int] = []
    real = training._train

    def counted(*args: Any) -> None:
        ran.append(1)
        real(*args)

    monkeypatch.setattr(training, "_train", counted)
    return ran


def test_the_same_training_is_loaded(llm: LanguageModel, trainings: list[int]) -> None:
    first, again = train(llm, EXAMPLES, QUICK), train(llm, EXAMPLES, QUICK)
    assert first == again
    assert len(trainings) == 1


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe)])
def test_any_other_recipe_trains_anew(name: str, llm: LanguageModel, trainings: list[int]) -> None:
    train(llm, EXAMPLES, QUICK)
    other: Any = ("q_proj",) if name == "targets" else getattr(QUICK, name) + 1
    changed: Any = {name: other}
    train(llm, EXAMPLES, replace(QUICK, **changed))
    assert len(trainings) == 2


def test_other_examples_dev_or_weights_train_anew(llm: LanguageModel, trainings: list[int]) -> None:
    train(llm, EXAMPLES[:3], QUICK)
    train(llm, [*EXAMPLES[:2], ask("cellar", "4 5 1 3")], QUICK)
    train(llm, EXAMPLES[:2], QUICK, dev=EXAMPLES[2:3])
    with torch.no_grad():
        llm.model.model.norm.weight[0] += 1e-3
    train(llm, EXAMPLES[:3], QUICK)
    assert len(trainings) == 4


def test_an_interrupted_training_goes_on_and_ends_the_same(
    llm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = [ask("ferry", "3")]
    whole = train(llm, EXAMPLES, QUICK, dev)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "another"))
    before = logits_of(llm)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    real, steps = training._Run._step, []

    def interrupted(run: Any, number: int) -> float:
        steps.append(number)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return real(run, number)

    monkeypatch.setattr(training._Run, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(llm, EXAMPLES, QUICK, dev)
    root = tmp_path / "another" / "adapters"
    assert not (root / whole.folder.name).exists()
    assert torch.equal(logits_of(llm), before)
    resumed = train(llm, EXAMPLES, QUICK, dev)
    assert steps == [0, 1, 2, 3, *range(3, len(whole.history))]
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.history == whole.history
    assert not list(root.glob("*.state"))


def test_a_broken_save_is_not_loaded(llm: LanguageModel, trainings: list[int]) -> None:
    adapter = train(llm, EXAMPLES, QUICK)
    kept = weights_of(adapter)
    adapter.folder.rename(adapter.folder.with_name("gone"))
    adapter.folder.with_suffix(".state").write_bytes(b"PK half a file")
    assert weights_of(train(llm, EXAMPLES, QUICK)) == kept


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([], "no examples"),
        ([[{"role": "user", "content": "what ?"}]], "Example 0 has no assistant's turn"),
        ([ask("port", "1"), ask("port", "1 " * 60)], "Example 1 has 7. tokens, a pass at most 40"),
    ],
)
def test_what_cannot_be_learned_is_said(
    examples: list[Chat], words: str, llm: LanguageModel
) -> None:
    with pytest.raises(FinetuningError, match=words):
        train(llm, examples, QUICK)


def test_losses_come_in_the_order_of_the_examples(llm: LanguageModel) -> None:
    alone = np.concatenate([loss_on(llm, [chat]) for chat in EXAMPLES])
    assert loss_on(llm, EXAMPLES) == pytest.approx(alone, rel=1e-5)


# --- several processes ----------------------------------------------------------------------------


def _trained(folder: Path, job: dict[str, Any], count: int, model: Path) -> recipes.Adapter:
    """Train in new processes with a cache of their own."""
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(job))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [
            *torchrun,
            f"--nproc-per-node={count}",
            "-m",
            "course_utils.scale.processes",
            "job.json",
        ],
        cwd=folder,
        env=os.environ
        | {"COURSE_CACHE": str(folder), "COURSE_GENERATOR": str(model), "OMP_NUM_THREADS": "1"}
        | {"COURSE_PROGRESS": "0", "PYTHONPATH": str(Path(training.__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return adapters.load_adapter(Path(done.stdout.split()[-1]))


@pytest.mark.parametrize(("gpus", "count", "taken"), [(0, 1, 0), (1, 1, 1), (1, 2, 0), (2, 2, 1)])
def test_gpus_are_taken_when_there_is_one_for_each_process(
    monkeypatch: pytest.MonkeyPatch, gpus: int, count: int, taken: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(dist, "init_process_group", lambda _: None)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: count)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert (processes.Torchrun().device() is not None) == bool(taken)


@pytest.mark.slow
def test_two_processes_train_what_one_does(llm: LanguageModel, tmp_path: Path) -> None:
    """Some steps have one pass: a process then has nothing to read."""
    llm.model.save_pretrained(tmp_path / "model")
    llm.tokenizer.save_pretrained(tmp_path / "model")
    recipe: dict[str, Any] = {"rank": 4, "alpha": 8, "learning_rate": 0.02, "epochs": 4}
    recipe |= {"tokens_per_step": 40, "tokens_per_pass": 20}
    examples = [*EXAMPLES, ask("lampd", "4")]
    lengths = [len(encoding.encode(llm, chat).ids) for chat in examples]
    passes = {len(step) for step in encoding.plan(lengths, Recipe(**recipe))}
    assert 1 in passes and max(passes) > 1
    job = {"examples": examples, "recipe": recipe, "dev": [ask("cellar", "4 5")]}
    one = _trained(tmp_path / "one", job, 1, tmp_path / "model")
    two = _trained(tmp_path / "two", job, 2, tmp_path / "model")
    for key in ("loss", "dev"):
        curves = [[e[key] for e in made.history if key in e] for made in (one, two)]
        assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert one.tokens == two.tokens
    weights = [load_file(made.folder / "adapter_model.safetensors") for made in (one, two)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5)
