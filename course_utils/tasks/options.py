"""How likely a model finds given answers, to measure what it knows. Notebooks 01 and 06."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache

from course_utils.generate.decoding import (
    Padded,
    Read,
    batches,
    decode,
    decoded_texts,
    encode_chats,
    pad_prompts,
    read_prompts,
)
from course_utils.generate.prompting import Chat
from course_utils.models.cache import Batches, cached_by_model, in_order
from course_utils.models.generator import LanguageModel


@torch.inference_mode()
def option_scores(llm: LanguageModel, chat: Chat, options: Sequence[str]) -> np.ndarray:
    """How likely a model finds each of several answers, without letting it write any.

    This is how knowledge is measured when free text would be hard to grade (Ovadia et al., 2024).
    The chat is read once and its key-value cache shared by all options.

    Args:
        llm: a local model.
        chat: ends with a user message.
        options: m possible answers.

    Returns:
        (m,) log-likelihoods per token, in nats.
    """
    if llm.remember:
        item = (chat, list(options))

        def score(fresh: LanguageModel, _: list[Any]) -> list[list[float]]:
            return [option_scores(fresh, *item).tolist()]

        return np.array(cached_by_model(llm, ["options"], [item], score)[0])
    padded = pad_prompts(llm, encode_chats(llm, [chat]))
    return score_options(llm, padded, read_prompts(llm, padded), 0, options)


def generate_and_score(
    llm: LanguageModel,
    chats: Sequence[Chat],
    options: Sequence[Sequence[str]],
    max_new_tokens: int = 16,
    tokens_per_batch: int = 2048,
) -> tuple[list[str], list[np.ndarray]]:
    """What ``generate`` and ``option_scores`` give, for chats that are read once, not twice.

    Args:
        llm: a local model.
        chats: n chats, each ending with a user message.
        options: possible answers to each chat.
        max_new_tokens: see ``generate``, like ``tokens_per_batch``.

    Returns:
        n answers and n arrays of scores, in the order of the chats.
    """
    items = [(chat, list(some)) for chat, some in zip(chats, options, strict=True)]

    def compute(model: LanguageModel, some: Sequence[Any]) -> Batches:
        return _answer_and_score(model, some, max_new_tokens, tokens_per_batch)

    if llm.remember:
        both = cached_by_model(llm, ["both", max_new_tokens], items, compute)
    else:
        both = in_order(compute(llm, items))
    return [text for text, _ in both], [np.array(scores) for _, scores in both]


def _answer_and_score(
    llm: LanguageModel, items: Sequence[Any], max_new_tokens: int, tokens_per_batch: int
) -> Batches:
    prompts = encode_chats(llm, [chat for chat, _ in items])
    for batch in batches(prompts, max_new_tokens, tokens_per_batch, "answers"):
        padded = pad_prompts(llm, [prompts[i] for i in batch])
        read = read_prompts(llm, padded, max_new_tokens)
        scores = []
        for row, i in enumerate(batch):
            scores.append(score_options(llm, padded, read, row, items[i][1]).tolist())
        tokens, _ = decode(llm, padded, read, max_new_tokens)
        del read
        texts = decoded_texts(llm, tokens)
        yield dict(zip(batch, zip(texts, scores, strict=True), strict=True))


@torch.inference_mode()
def score_options(
    llm: LanguageModel,
    padded: Padded,
    read: Read,
    row: int,
    options: Sequence[str],
) -> np.ndarray:
    """See ``option_scores``; for one row of prompts that were read, whose cache stays as it is."""
    ids = [llm.tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
    lengths = [len(option) for option in ids]
    tokens = torch.tensor([token for option in ids for token in option])
    owner = torch.arange(len(ids)).repeat_interleave(torch.tensor(lengths))
    place = torch.cat([torch.arange(length) for length in lengths])
    # All options in a row, so that the prompt's cache need not be repeated for each: a token sees
    # the prompt, and of the options only its own up to itself.
    prompt = padded["attention_mask"][row].bool()
    own = (owner[:, None] == owner) & (place[:, None] >= place)
    seen = torch.cat([prompt.expand(len(tokens), -1), own], dim=1)
    mask = torch.zeros(seen.shape, dtype=read.logits.dtype)
    mask = mask.masked_fill(~seen, torch.finfo(mask.dtype).min)
    cache = DynamicCache()
    for number, layer in enumerate(read.cache.layers):
        cache.update(layer.keys[row, None], layer.values[row, None], number)
    logits = llm.model(
        tokens[None],
        attention_mask=mask[None, None],
        position_ids=(prompt.sum() + place)[None],
        past_key_values=cache,
    ).logits[0]
    # An option's first token is predicted by the prompt's end, every later one by that before it.
    predicted = torch.cat([read.logits[row, None], logits]).float().log_softmax(-1)
    of_tokens = predicted[torch.where(place == 0, 0, torch.arange(len(tokens))), tokens]
    return np.array([each.mean().item() for each in of_tokens.split(lengths)])
