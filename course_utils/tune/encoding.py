"""Chats as token ids, and which of them share a training step. Notebook 06."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course_utils.generate.prompting import Chat
from course_utils.models.generator import LanguageModel
from course_utils.tune.recipes import FinetuningError, Recipe


@dataclass(frozen=True)
class Row:
    """A chat as token ids; ``learned`` marks those of the assistant's turns."""

    ids: list[int]
    learned: list[bool]


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


def encode_all(llm: LanguageModel, chats: Sequence[Chat], recipe: Recipe) -> list[Row]:
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
        chosen = cut(order, lengths, recipe.tokens_per_step, padded=False)
        share = min(1.0, recipe.epochs - epoch)
        for step in chosen[: max(1, round(share * len(chosen)))]:
            by_length = sorted(step, key=lambda row: -lengths[row])
            steps.append(cut(by_length, lengths, recipe.tokens_per_pass, padded=True))
    return steps


def cut(order: Sequence[int], lengths: Sequence[int], budget: int, padded: bool) -> list[list[int]]:
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
