"""Decode many chats at a time with a local model, or ask an endpoint. Notebooks 01 and 06."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from course_utils.files import progress
from course_utils.generate.chat_api import ask
from course_utils.generate.grammar import Grammar
from course_utils.generate.prompting import Chat
from course_utils.models.cache import Batches, cached_by_model, in_order
from course_utils.models.endpoints import Endpoint
from course_utils.models.generator import LanguageModel
from course_utils.models.weights import release_memory

Padded = dict[str, torch.Tensor]
READ_TOKENS = 1024  # padded tokens of prompts that are read at once, which bounds memory


def generate(
    llm: LanguageModel | Endpoint,
    chats: Sequence[Chat],
    max_new_tokens: int = 16,
    tokens_per_batch: int = 2048,
    schema: Mapping[str, Any] | None = None,
    shared_prefix: bool = False,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Decode many chats at a time.

    Args:
        llm: a local model or an endpoint.
        chats: n chats, each ending with a user message.
        max_new_tokens: length at which an answer is cut off.
        tokens_per_batch: upper bound on the tokens of chats decoded together, padding and answers
            included, which bounds memory: 46 kB each with the course's model.
        schema: a JSON schema; the model then writes nothing but JSON that fits it, as far as
            ``max_new_tokens`` reach.
        shared_prefix: read what all chats begin with once instead of once a chat. Providers call
            it prompt caching; it pays with long instructions or examples.
        temperature: 0 takes the likeliest token each time; above it, tokens are drawn.
        seed: another one draws others.

    Returns:
        n answers, in the order of the chats.
    """
    if isinstance(llm, Endpoint):
        return ask(llm, chats, max_new_tokens, schema, temperature, seed)
    settings: dict[str, Any] = {}
    if temperature > 0:
        settings = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 0.95}

    def answer(model: LanguageModel, some: Sequence[Chat]) -> Batches:
        """Batch by batch, so that each batch can be saved when it is done."""
        prompts = encode_chats(model, some)
        grammar = Grammar(model, schema) if schema is not None else None
        shared = common_prefix(prompts) if shared_prefix and prompts else 0
        prefix = pad_prompts(model, [prompts[0][:shared]]) if shared else None
        known = read_prompts(model, prefix).cache if prefix else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for batch in batches(prompts, max_new_tokens, tokens_per_batch, "answers"):
                padded = pad_prompts(model, [prompts[i] for i in batch], shared)
                if grammar is not None:
                    settings["logits_processor"] = [grammar.mask(len(batch))]
                read = read_prompts(model, padded, max_new_tokens, known)
                tokens, _ = decode(model, padded, read, max_new_tokens, **settings)
                del read  # before the next is made: they are the largest things there are
                yield dict(zip(batch, decoded_texts(model, tokens), strict=True))

    if llm.remember and temperature == 0:
        return cached_by_model(llm, ["generate", max_new_tokens, schema], chats, answer)
    return in_order(answer(llm, chats))


def chat(llm: LanguageModel | Endpoint, messages: str | Chat, max_new_tokens: int = 64) -> str:
    """Ask once.

    Args:
        llm: a local model or an endpoint.
        messages: a question, or a chat that ends with a user message.
        max_new_tokens: length at which the answer is cut off.

    Returns:
        The answer.
    """
    asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return generate(llm, [asked], max_new_tokens)[0]


def encode_chats(llm: LanguageModel, chats: Sequence[Chat]) -> list[list[int]]:
    """Chats as the model reads them."""
    return [
        llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        for chat in chats
    ]


def batches(
    prompts: Sequence[list[int]], max_new_tokens: int, tokens_per_batch: int, label: str
) -> Iterator[list[int]]:
    """Places of prompts to run together, behind a progress bar."""
    # Prompts of nearly one length go together: padding is computed like any other token.
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    with progress(total=len(prompts), label=label) as bar:
        while order:
            size = max(1, tokens_per_batch // (len(prompts[order[0]]) + max_new_tokens))
            batch, order = order[:size], order[size:]
            yield batch
            bar.update(len(batch))
            release_memory()  # batches differ in shape, and what one leaves rarely fits the next


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with; each keeps one of its own to go on from."""
    same = 0
    for first, last in zip(min(prompts), max(prompts), strict=False):  # the two that differ most
        if first != last:
            break
        same += 1
    return min(same, *(len(prompt) - 1 for prompt in prompts))


def pad_prompts(llm: LanguageModel, prompts: list[list[int]], shared: int = 0) -> Padded:
    """Prompts as one batch, padded behind the tokens that all of them begin with."""
    own = llm.tokenizer.pad({"input_ids": [ids[shared:] for ids in prompts]}, return_tensors="pt")
    first = torch.tensor(prompts[0][:shared], dtype=torch.long).expand(len(prompts), -1)
    return {
        "input_ids": torch.cat([first, own["input_ids"]], dim=1),
        "attention_mask": torch.cat([torch.ones_like(first), own["attention_mask"]], dim=1),
    }


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, with room for those of the tokens to come.

    transformers' own layer copies everything it holds for each new token.
    """

    def __init__(self, rows: int, tokens: int, room: int, like: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(like, like)
        shape = (rows, like.shape[1], tokens + room, like.shape[3])
        self._keys, self._values = like.new_zeros(shape), like.new_zeros(shape)
        self._show(tokens)

    def _show(self, tokens: int) -> None:
        self.keys, self.values = self._keys[:, :, :tokens], self._values[:, :, :tokens]

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> Any:
        held = self.keys.shape[2]
        self._show(held + key_states.shape[2])
        self.keys[:, :, held:], self.values[:, :, held:] = key_states, value_states
        return self.keys, self.values


@dataclass(frozen=True)
class Read:
    """Prompts that a model has read: its cache of them, and the logits behind their ends."""

    cache: Cache
    logits: torch.Tensor  # (rows, words)


@torch.inference_mode()
def read_prompts(
    llm: LanguageModel, padded: Padded, room: int = 0, known: Cache | None = None
) -> Read:
    """Run prompts through the model, a few at a time, and keep room for what will be decoded.

    ``known`` is a cache of the tokens that all prompts begin with.
    """
    rows, width = padded["input_ids"].shape  # padded on the left, behind the known tokens
    start = known.get_seq_length() if known is not None else 0
    layers: list[RoomyLayer] = []
    logits = []
    row = 0
    while row < rows:
        # 1) Rows are sorted by length: skip the left padding that all rows from here on share.
        skip = start + int((padded["attention_mask"][row:, start:] == 0).sum(1).min())
        # 2) Read as many rows as the budget of tokens allows.
        part = slice(row, row + max(1, READ_TOKENS // (width - skip)))
        read = _read_part(llm, {name: each[part] for name, each in padded.items()}, skip, known)
        logits.append(read.logits)
        # 3) Lay their keys and values, (rows, heads, tokens, size), where the whole batch has them.
        if not layers:
            layers = [RoomyLayer(rows, width, room, layer.keys) for layer in read.cache.layers]
        for kept, layer in zip(layers, read.cache.layers, strict=True):
            for whole, new in ((kept.keys, layer.keys), (kept.values, layer.values)):
                whole[part, :, :start] = new[:, :, :start]
                whole[part, :, skip:] = new[:, :, start:]
        del read, layer, new  # before the next is made
        row = part.stop
    return Read(Cache(layers=layers), torch.cat(logits))


def _read_part(llm: LanguageModel, padded: Padded, skip: int, known: Cache | None) -> Read:
    """Read some prompts behind what is known of them, and behind ``skip`` tokens."""
    ids, mask = padded["input_ids"], padded["attention_mask"]
    cache = DynamicCache()
    for number, layer in enumerate(known.layers if known is not None else []):
        wide = (len(ids), -1, -1, -1)
        cache.update(layer.keys.expand(wide), layer.values.expand(wide), number)
    seen = torch.cat([mask[:, : cache.get_seq_length()], mask[:, skip:]], dim=1)
    out = llm.model(
        ids[:, skip:],
        attention_mask=seen,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, skip:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return Read(out.past_key_values, out.logits[:, -1])


@torch.inference_mode()
def decode(
    llm: LanguageModel, padded: Padded, read: Read, max_new_tokens: int, **settings: Any
) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Go on from prompts: the new tokens, and where they are asked for the logits of each step."""
    read.cache.crop(-1)  # generate() wants one token to go on from
    out = llm.model.generate(
        **padded,
        past_key_values=read.cache,
        max_new_tokens=max_new_tokens,
        pad_token_id=llm.tokenizer.pad_token_id,
        return_dict_in_generate=True,
        **{"do_sample": False} | settings,
    )
    return out.sequences[:, padded["input_ids"].shape[1] :], out.logits


def decoded_texts(llm: LanguageModel, tokens: torch.Tensor) -> list[str]:
    return [text.strip() for text in llm.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def count_tokens(llm: LanguageModel, chat: Chat) -> int:
    """Tokens of a chat as the model reads it, template included."""
    return len(encode_chats(llm, [chat])[0])
