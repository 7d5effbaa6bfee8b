"""Solutions and checks of notebook 06."""

import operator
import random
import re
from functools import lru_cache

NOTEBOOK = "06_lora_finetuning"
STEP, BUDGET, OWN_COST = 4096, 768, 64


def names():
    """What the exercises read: the model's shapes without its weights, and the libraries."""
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from course_utils.models.generator import LanguageModel

    shapes = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(shapes)
    return {
        "llm": LanguageModel("SmolLM2-135M-Instruct", model, None),
        "LoraConfig": LoraConfig,
        "get_peft_model": get_peft_model,
        "np": np,
        "torch": torch,
    }


# --- 06-zeros -------------------------------------------------------------------------------------


def _trained(torch, zeros, rank=4, size=24):
    """The losses of a LoRA layer in training, where A and B began, and where they ended."""
    draw = torch.Generator().manual_seed(0)
    layer, wanted = (torch.randn(size, size, generator=draw) / size**0.5 for _ in range(2))
    x = torch.randn(64, size, generator=draw)
    a = torch.randn(rank, size, generator=draw) / rank
    began = [torch.zeros_like(a) if zeros else a, torch.zeros(size, rank)]
    a, b = (each.clone().requires_grad_() for each in began)
    optimizer = torch.optim.AdamW([a, b], lr=0.01, weight_decay=0.0)
    losses = []
    for _ in range(300):
        loss = ((x @ layer.T + 2 * (x @ a.T @ b.T) - x @ (layer + wanted).T) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, began, [a.detach(), b.detach()]


def zeros_solution(ns):
    usual, _, _ = _trained(ns.torch, zeros=False)
    losses, began, (a, b) = _trained(ns.torch, zeros=True)
    if all(ns.torch.equal(one, other) for one, other in zip(began, (a, b), strict=True)):
        key = "never"
    else:
        key = "rank-one" if ns.torch.linalg.matrix_rank(b @ a) == 1 else "same"
    said = f"from random *A* the loss went from {usual[0]:.2f} to {usual[-1]:.2f}"
    return key, f"Trained now: {said}, from zeros from {losses[0]:.2f} to {losses[-1]:.2f}."


# --- 06-scaling -----------------------------------------------------------------------------------


def scaling_solution(x, weight, a, b, alpha, merge=False):
    scale = alpha / a.shape[0]
    if merge:
        whole = weight + (scale * (b @ a)).to(weight.dtype)
        return x @ whole.T
    added = scale * (x.to(a.dtype) @ a.T @ b.T)
    return x @ weight.T + added.to(x.dtype)


def _tensors(ns, rank, dtype="float32", seed=0):
    """x, weight, a and b with 6 inputs and 10 outputs, in numbers that bfloat16 has room for."""
    draw = ns.torch.Generator().manual_seed(seed)
    shapes = ((3, 6), (10, 6), (rank, 6), (10, rank))
    x, weight, a, b = (ns.torch.randn(shape, generator=draw) for shape in shapes)
    kind = getattr(ns.torch, dtype)
    return x.to(kind), weight.to(kind), a, b


def _pefts(ns, x, weight, a, b, alpha, merge=False):
    """What peft's own layer returns for the same tensors."""
    from peft import LoraConfig, get_peft_model

    linear = ns.torch.nn.Linear(6, 10, bias=False, dtype=weight.dtype)
    linear.weight.data = weight.clone()
    config = LoraConfig(r=len(a), lora_alpha=alpha, target_modules=["0"])
    model = get_peft_model(ns.torch.nn.Sequential(linear), config)
    layer = model.base_model.model[0]
    layer.lora_A["default"].weight.data = a.clone()
    layer.lora_B["default"].weight.data = b.clone()
    with ns.torch.no_grad():
        return (model.merge_and_unload() if merge else model)(x)


def _agrees(adapted, ns, rank, alpha, merge=False):
    x, weight, a, b = _tensors(ns, rank, seed=rank)
    copies = [each.clone() for each in (x, weight, a, b)]
    got = adapted(*copies, alpha, merge=merge)
    assert isinstance(got, ns.torch.Tensor) and got.shape == (3, 10), (
        "Three inputs and a layer with ten outputs make a tensor of the shape (3, 10); got "
        f"`{got if not isinstance(got, ns.torch.Tensor) else tuple(got.shape)}`."
    )
    right, bare = _pefts(ns, x, weight, a, b, alpha, merge), x @ weight.T
    close = ns.torch.allclose(got.float(), right, atol=1e-4)
    with_what = f"With rank {rank} and alpha {alpha}"
    if not close:
        ratios = (got.float() - bare) / (right - bare)
        ratio = ratios.median().item()
        even = ns.torch.allclose(ratios, ns.torch.full_like(ratios, ratio), rtol=0.01, atol=0.01)
        how = f"{ratio:.3g} times peft's" if even else "not peft's, and not a multiple of it"
        merged = " after merging" if merge else ""
        raise AssertionError(f"{with_what}, what the adapter adds{merged} is {how}.")


def scaling_check(adapted, ns):
    """Ranks and alphas, not merged."""
    for rank, alpha in ((8, 8), (2, 8), (2, 5), (4, 16), (16, 16), (1, 3), (16, 32)):
        _agrees(adapted, ns, rank, alpha)
    x, weight, a, b = _tensors(ns, 2)
    got = adapted(x.clone(), weight.clone(), a, ns.torch.zeros_like(b), 16)
    assert ns.torch.allclose(got, x @ weight.T), (
        "With zeros in `b` the layer must compute what it computes without an adapter."
    )


def scaling_check_merged(adapted, ns):
    for rank, alpha in ((8, 8), (2, 8), (4, 16), (16, 32), (1, 3)):
        _agrees(adapted, ns, rank, alpha, merge=True)


def scaling_check_callers(adapted, ns):
    for merge in (False, True):
        given = _tensors(ns, 4)
        kept = [each.clone() for each in given]
        adapted(*given, 16, merge=merge)
        changed = [not ns.torch.equal(*pair) for pair in zip(given, kept, strict=True)]
        which = ", ".join(
            n for n, yes in zip(("x", "weight", "a", "b"), changed, strict=True) if yes
        )
        assert not which, (
            f"The caller's `{which}` was changed: a second call would add the adapter to it again."
        )


def scaling_check_types(adapted, ns):
    for merge in (False, True):
        x, weight, a, b = _tensors(ns, 4, "bfloat16")
        try:
            got = adapted(x.clone(), weight.clone(), a, b, 8, merge=merge)
        except RuntimeError as error:
            raise AssertionError(
                "`x` and `weight` are bfloat16 here, `a` and `b` float32, and torch multiplies no "
                f"mixed types: {str(error)[:150]}"
            ) from error
        assert got.dtype == x.dtype, f"`x` is bfloat16, so the result is too; got {got.dtype}."
        right = _pefts(ns, x, weight, a, b, 8, merge)
        assert ns.torch.allclose(got.float(), right.float(), rtol=0.05, atol=0.15), (
            "In bfloat16 the result is farther from peft's than rounding explains."
        )


def scaling_wrong(ns):
    def as_it_was(x, weight, a, b, alpha, merge=False):
        if merge:
            weight += b @ a
            return x @ weight.T
        return x @ weight.T + alpha / 8 * (x @ a.T @ b.T)

    def by_width(x, weight, a, b, alpha, merge=False):
        scale = alpha / a.shape[1]
        if merge:
            return x @ (weight + scale * (b @ a)).T
        return x @ weight.T + scale * (x @ a.T @ b.T)

    def by_root(x, weight, a, b, alpha, merge=False):
        scale = alpha / a.shape[0] ** 0.5
        if merge:
            return x @ (weight + scale * (b @ a)).T
        return x @ weight.T + scale * (x @ a.T @ b.T)

    def merged_without(x, weight, a, b, alpha, merge=False):
        if merge:
            return x @ (weight + b @ a).T
        return x @ weight.T + alpha / len(a) * (x @ a.T @ b.T)

    def in_place(x, weight, a, b, alpha, merge=False):
        scale = alpha / len(a)
        if merge:
            weight += scale * (b @ a)
            return x @ weight.T
        return x @ weight.T + scale * (x @ a.T @ b.T)

    def one_type(x, weight, a, b, alpha, merge=False):
        scale = alpha / len(a)
        if merge:
            return x @ (weight + scale * (b @ a)).T
        return x @ weight.T + scale * (x @ a.T @ b.T)

    def widened(x, weight, a, b, alpha, merge=False):
        x, weight, scale = x.float(), weight.float(), alpha / len(a)
        return x @ weight.T + scale * (x @ a.T @ b.T)

    return {
        "is 0.25 times peft's": as_it_was,
        "is 1.33 times peft's": by_width,
        "is 2.83 times peft's": by_root,
        "what the adapter adds after merging": merged_without,
        "The caller's `weight` was changed": in_place,
        "torch multiplies no mixed types": one_type,
        "so the result is too": widened,
    }


# --- 06-mask --------------------------------------------------------------------------------------


def mask_solution(tokens):
    places, role = [], ""
    for place in range(1, len(tokens)):
        if tokens[place - 1] == "<start>":
            role = tokens[place]
        elif role == "assistant":
            places.append(place - 1)  # the scores there guess this token
        if tokens[place] == "<end>":
            role = ""
    return places


def _places(needed_places, text):
    got = needed_places(text.split())
    assert isinstance(got, list | tuple) and all(_is_place(place) for place in got), (
        f"It must return a list of places; got `{repr(got)[:80]}`."
    )
    return [int(place) for place in got]


def _is_place(value):
    return hasattr(value, "__index__") and not isinstance(value, bool)


def mask_check(needed_places, ns):
    """One turn of the assistant."""
    got = _places(needed_places, "<start> user how cold <end> <start> assistant 4 °C <end>")
    told = f"In the table, expected [6, 7, 8], got `{got}`."
    assert got != [7, 8, 9], f"{told} Those are the learned tokens. Which places guess them?"
    assert got != [6, 7], f"{told} What would teach the model to stop?"
    assert got != [8, 9, 10], f"{told} That is shifted the wrong way."
    assert len(got) < 8, f"{told} The question is read, and not learned."
    assert not {4, 5} & set(got), f"{told} The template writes `<start> assistant`, not the model."
    assert got == [6, 7, 8], told


def _same_places(needed_places, text, said):
    right, got = mask_solution(text.split()), _places(needed_places, text)
    assert got == right, f"The chat `{text}` {said}: expected {right}, got `{got}`."


def mask_check_turns(needed_places, ns):
    turns = ["system be brief <end>", "user a ? <end>", "assistant b <end>", "user c ? <end>"]
    text = " ".join(f"<start> {turn}" for turn in [*turns, "assistant d e <end>"])
    _same_places(needed_places, text, "has two turns to learn, `b <end>` and `d e <end>`")


def mask_check_words(needed_places, ns):
    word = "has a role's name {}, where it is a word like any other"
    for text, said in (
        ("<start> user ask the assistant now <end> <start> assistant no <end>", "in a question"),
        ("<start> user who ? <end> <start> assistant the user or system <end>", "in an answer"),
    ):
        _same_places(needed_places, text, word.format(said))


def mask_check_cut(needed_places, ns):
    for text, said in (
        ("<start> user a <end> <start> assistant b c", "is cut off within the answer"),
        ("<start> user a <end> <start> assistant", "ends before the answer"),
        ("<start> user a <end> <start>", "ends before a role"),
        ("<start> user a <end>", "has no answer"),
        ("", "is empty"),
    ):
        _same_places(needed_places, text, said)


def mask_wrong(ns):
    def not_shifted(tokens):
        places, role = [], ""
        for place in range(1, len(tokens)):
            if tokens[place - 1] == "<start>":
                role = tokens[place]
            elif role == "assistant":
                places.append(place)
            if tokens[place] == "<end>":
                role = ""
        return places

    def never_stops(tokens):
        places, role = [], ""
        for place in range(1, len(tokens)):
            if tokens[place - 1] == "<start>":
                role = tokens[place]
            elif tokens[place] == "<end>":
                role = ""
            elif role == "assistant":
                places.append(place - 1)
        return places

    def with_header(tokens):
        places, mine = [], False
        for place in range(1, len(tokens)):
            if tokens[place - 1] == "<start>":
                mine = tokens[place] == "assistant"
            if mine:
                places.append(place - 1)
        return places

    def everything(tokens):
        return list(range(len(tokens) - 1))

    def last_turn(tokens):
        if "assistant" not in tokens:
            return []
        last = max(n for n, token in enumerate(tokens) if token == "assistant")
        return list(range(last, len(tokens) - 1))

    def any_word(tokens):
        places, role = [], ""
        for place in range(1, len(tokens)):
            if tokens[place] in ("system", "user", "assistant"):
                role = tokens[place]
            elif role == "assistant":
                places.append(place - 1)
            if tokens[place] == "<end>":
                role = ""
        return places

    def whole_turns(tokens):
        places, place = [], 0
        while place < len(tokens):
            end = tokens.index("<end>", place)
            if tokens[place + 1] == "assistant":
                places += range(place + 1, end)
            place = end + 1
        return places

    return {
        "Which places guess them?": not_shifted,
        "What would teach the model to stop?": never_stops,
        "The template writes `<start> assistant`": with_header,
        "The question is read, and not learned": everything,
        "has two turns to learn": last_turn,
        "where it is a word like any other": any_word,
        "ValueError": whole_turns,
    }


# --- 06-size --------------------------------------------------------------------------------------


def _layers(ns, *ends):
    """(in, out) of each linear layer of the model whose name ends so."""
    found = (module for name, module in ns.llm.model.named_modules() if name.endswith(ends))
    return [(layer.in_features, layer.out_features) for layer in found]


def size_solution(ns, rank=16):
    return sum(rank * sum(shape) for shape in _layers(ns, "q_proj", "v_proj")) / 1000


def size_wrong(ns):
    right, queries = size_solution(ns), _layers(ns, "q_proj")
    both = _layers(ns, "q_proj", "v_proj")
    return {
        "That takes `v_proj` to be as wide as `q_proj`. Look at its `out_features`.": (
            2 * sum(16 * sum(shape) for shape in queries) / 1000
        ),
        "That is one block. How many are there?": right / len(queries),
        "That is *A* alone. *B* is trained, too.": sum(16 * shape[0] for shape in both) / 1000,
        "That is *B* alone. *A* is trained, too.": sum(16 * shape[1] for shape in both) / 1000,
        "That is what the layers themselves have. They are frozen.": (
            sum(shape[0] * shape[1] for shape in both) / 1000
        ),
        "That is rank 8.": size_solution(ns, 8),
        "So many it is, and the question asks for thousands.": right * 1000,
    }


# --- 06-cannot ------------------------------------------------------------------------------------


def cannot_solution(ns):
    """The needs for which the course's own rules do not end at training."""
    from course_utils.decision import deciding

    needs = {
        "tariff": ("changes", "knowledge"),
        "source": ("cite", "knowledge"),
        "withdrawn": ("changes", "knowledge"),
        "voice": ("form",),
        "notation": ("form",),
        "prompt": ("volume",),
    }
    nothing = dict.fromkeys((question.id for question in deciding.decision_questions()), "no")
    decided = {
        key: deciding.decide(nothing | dict.fromkeys(asked, "yes")).outcome
        for key, asked in needs.items()
    }
    return {key for key, outcome in decided.items() if outcome != "fine-tuning"}


# --- 06-passes ------------------------------------------------------------------------------------


def passes_baseline(lengths, budget):
    groups = []
    for row, length in enumerate(lengths):
        longest = max([length, *(lengths[other] for other in groups[-1])]) if groups else length
        if groups and longest * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def passes_solution(lengths, budget):
    own = 64
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    cheapest = [(0, 0)]  # of the first n rows: the cost, and where the last pass begins
    for end in range(1, len(order) + 1):
        ways = []
        for begin in range(end):
            computed = lengths[order[begin]] * (end - begin)
            if computed <= budget or end - begin == 1:
                ways.append((cheapest[begin][0] + computed + own, begin))
        cheapest.append(min(ways))
    groups, end = [], len(order)
    while end:
        begin = cheapest[end][1]
        groups.append(order[begin:end])
        end = begin
    return groups


@lru_cache
def _steps():
    """The lengths of the rows of each step: tickets, e-mails and facts, shuffled."""
    from course_utils.tasks import emails, handbook, tickets

    chats = [
        tickets.ticket_chat(each, learned=True) for each in tickets.load_tickets("train")[:200]
    ]
    chats += [emails.email_chat(each, learned=True) for each in emails.load_emails()[:200]]
    facts = handbook.facts_with_paraphrases()
    chats += [handbook.fact_chat(text, old.answer) for old, _, asked in facts for text in asked]
    random.Random(0).shuffle(chats)
    steps, used = [], STEP
    for chat in chats:
        length = sum(len(re.findall(r"\w+|[^\w\s]", turn["content"])) + 5 for turn in chat)
        if used + length > STEP:
            steps.append([])
            used = 0
        steps[-1].append(length)
        used += length
    return steps


def passes_score(passes, ns):
    """The share of real tokens among those that are paid for."""
    assert callable(passes), "`passes(lengths, budget)` must be a function."
    real = paid = 0
    for lengths in _steps():
        made = passes(list(lengths), BUDGET)
        assert isinstance(made, list | tuple) and all(isinstance(p, list | tuple) for p in made), (
            f"`passes` must return a list of lists; got `{repr(made)[:80]}`."
        )
        assert all(_is_place(row) for rows in made for row in rows), (
            "A pass must hold places in `lengths`, which are whole numbers."
        )
        groups = [[operator.index(row) for row in rows] for rows in made if rows]
        assert sorted(row for rows in groups for row in rows) == list(range(len(lengths))), (
            f"Each of the {len(lengths)} rows of a step must be in exactly one pass."
        )
        for rows in groups:
            computed = len(rows) * max(lengths[row] for row in rows)
            assert computed <= BUDGET, (
                f"A pass of {len(rows)} rows computes {computed} tokens, padding included: more "
                f"than the budget of {BUDGET}."
            )
            paid += computed + OWN_COST
        real += sum(lengths)
    return real / paid


def passes_wrong(ns):
    def one_by_one(lengths, budget):
        return [[row] for row in range(len(lengths))]

    def without_padding(lengths, budget):
        groups, used = [], budget
        for row, length in enumerate(lengths):
            if used + length > budget:
                groups.append([])
                used = 0
            groups[-1].append(row)
            used += length
        return groups

    def the_lengths(lengths, budget):
        return [[length] for length in sorted(lengths)]

    def filled(lengths, budget):
        groups = []
        for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
            if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget:
                groups[-1].append(row)
            else:
                groups.append([row])
        return groups

    return {
        "the baseline": one_by_one,
        "more than the budget": without_padding,
        "in exactly one pass": the_lengths,
        "Yours scores": filled,
    }
