"""From retrieved nodes to an answer: prompts, batched decoding, citations, LlamaIndex's LLM.

A chat is a list of ``{"role": ..., "content": ...}`` messages, as everywhere else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from llama_index.core.llms import (
    ChatMessage,
    CompletionResponse,
    CompletionResponseGen,
    CustomLLM,
    LLMMetadata,
)
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.schema import NodeWithScore
from pydantic import PrivateAttr
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from course_utils.cache import remembered_by
from course_utils.corpus import page_of
from course_utils.files import InputError, progress
from course_utils.models import Embedder, Endpoint, LanguageModel, ModelError, release_memory

Chat = list[dict[str, str]]
Padded = dict[str, torch.Tensor]

READ_TOKENS = 1024  # padded tokens of prompts that are read at once, which bounds memory

# How tokens begin that begin a word or a line: those of byte-level BPE, then SentencePiece's.
WORD_MARKS = ("Ġ", "Ċ", "▁", "\n", "<0x0A>")

ASK = "Answer in a few words."
ASK_WITH_SOURCES = "Answer the question in a few words, using only the sources."


@dataclass(frozen=True)
class Answer:
    """What was answered, and the page it points at (None when it points at none).

    An empty text is a refusal. ``sureness`` is the log-likelihood of the text, where it is known.
    """

    text: str
    page: str | None = None
    sureness: float | None = None

    @property
    def refused(self) -> bool:
        return not self.text.strip()


Reader = Callable[[Sequence[str], Sequence[Sequence[NodeWithScore]]], list[Answer]]


# --- prompts --------------------------------------------------------------------------------------


def closed_book_chat(question: str) -> Chat:
    """The question alone: whatever is answered comes out of the weights."""
    return [{"role": "user", "content": f"{ASK}\n\nQuestion: {question}"}]


def rag_chat(question: str, nodes: Sequence[NodeWithScore]) -> Chat:
    """The question below numbered sources, the best first.

    Args:
        question: what is asked.
        nodes: what was retrieved, best first.
    """
    sources = "\n\n".join(
        f"[{number}] {found.node.metadata.get('title', '')}\n{found.node.get_content().strip()}"
        for number, found in enumerate(nodes, start=1)
    )
    content = f"{ASK_WITH_SOURCES}\n\n{sources}\n\nQuestion: {question}"
    return [{"role": "user", "content": content}]


# --- decoding -------------------------------------------------------------------------------------


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
        schema: a JSON schema; local models then write nothing but JSON that fits it, as far as
            ``max_new_tokens`` reach.
        shared_prefix: read what all chats begin with once instead of once a chat. Providers call
            it prompt caching; it pays with long instructions or examples.
        temperature: 0 takes the likeliest token each time; above it, a local model draws tokens.
        seed: another one draws others.

    Returns:
        n answers, in the order of the chats.
    """
    if isinstance(llm, Endpoint):
        return [_ask_endpoint(llm, chat, max_new_tokens) for chat in progress(chats, "answers")]
    if not chats:
        return []
    if llm.remember and temperature == 0:
        budget = (max_new_tokens, tokens_per_batch, schema, shared_prefix)
        key = ["generate", max_new_tokens, schema]
        return remembered_by(llm, key, chats, lambda fresh, some: generate(fresh, some, *budget))
    prompts = _prompts(llm, chats)
    answers = [""] * len(chats)
    settings: dict[str, Any] = {}
    if temperature > 0:
        settings = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 0.95}
    grammar = Grammar(llm, schema) if schema is not None else None
    shared = _common(prompts) if shared_prefix else 0
    known = _read(llm, _padded(llm, [prompts[0][:shared]])).cache if shared else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for batch in _batches(prompts, max_new_tokens, tokens_per_batch, "answers"):
            padded = _padded(llm, [prompts[i] for i in batch], shared)
            if grammar is not None:
                settings["logits_processor"] = [grammar.mask(len(batch))]
            read = _read(llm, padded, max_new_tokens, known)
            tokens, _ = _decode(llm, padded, read, max_new_tokens, **settings)
            del read  # before the next is made: they are the largest things there are
            for i, text in zip(batch, _texts(llm, tokens), strict=True):
                answers[i] = text
    return answers


def _prompts(llm: LanguageModel, chats: Sequence[Chat]) -> list[list[int]]:
    """Chats as the model reads them."""
    return [
        llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        for chat in chats
    ]


def _batches(
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


def _common(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with; each keeps one of its own to go on from."""
    same = 0
    for first, last in zip(min(prompts), max(prompts), strict=False):  # the two that differ most
        if first != last:
            break
        same += 1
    return min(same, *(len(prompt) - 1 for prompt in prompts))


def _padded(llm: LanguageModel, prompts: list[list[int]], shared: int = 0) -> Padded:
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
def _read(llm: LanguageModel, padded: Padded, room: int = 0, known: Cache | None = None) -> Read:
    """Run prompts through the model, a few at a time, and keep room for what will be decoded.

    ``known`` is a cache of the tokens that all prompts begin with.
    """
    rows, width = padded["input_ids"].shape
    start = known.get_seq_length() if known is not None else 0
    layers: list[RoomyLayer] = []
    logits = []
    row = 0
    while row < rows:
        # Later rows are shorter, mostly: padding that all of them have is not computed.
        skip = start + int((padded["attention_mask"][row:, start:] == 0).sum(1).min())
        part = slice(row, row + max(1, READ_TOKENS // (width - skip)))
        read = _read_part(llm, {name: each[part] for name, each in padded.items()}, skip, known)
        logits.append(read.logits)
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
def _decode(
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


def _texts(llm: LanguageModel, tokens: torch.Tensor) -> list[str]:
    return [text.strip() for text in llm.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


class Grammar:
    """A JSON schema that decoding may not leave, by llguidance.

    After each token it masks all those of the vocabulary with which no JSON of the schema can go
    on. The form is then right whatever the model knows; what stands in it is still the model's.
    """

    def __init__(self, llm: LanguageModel, schema: Mapping[str, Any]) -> None:
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        self._words = llm.model.get_output_embeddings().weight.shape[0]
        self._end = llm.tokenizer.eos_token_id
        spaced = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=spaced)  # type: ignore[arg-type]
        self._fresh = LLMatcher(from_tokenizer(llm.tokenizer, self._words), grammar)
        if self._fresh.is_error():
            raise InputError(f"The schema cannot be decoded by: {self._fresh.get_error()}")

    def mask(self, rows: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """A logits processor for a batch of so many chats."""
        from llguidance.numpy import allocate_token_bitmask, apply_token_bitmask_inplace
        from llguidance.numpy import fill_next_token_bitmask as fill

        states = [self._fresh.deep_copy() for _ in range(rows)]
        bits = allocate_token_bitmask(1, self._words)
        began = False

        def allow(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            nonlocal began
            for row, state in enumerate(states):
                if began and not state.is_stopped():
                    state.consume_token(int(ids[row, -1]))
                if state.is_stopped():
                    scores[row] = -torch.inf
                    scores[row, self._end] = 0
                else:
                    fill(state, bits)
                    apply_token_bitmask_inplace(scores[row : row + 1].numpy(), bits)
            began = True
            return scores

        return allow


@torch.inference_mode()
def copy_from(
    llm: LanguageModel,
    chats: Sequence[Chat],
    sources: Sequence[str],
    max_new_tokens: int = 12,
    tokens_per_batch: int = 2048,
) -> list[tuple[str, float]]:
    """Decode greedily, and let each text only be a stretch of its source.

    Args:
        llm: a local model.
        chats: n chats, each ending with the beginning of the answer.
        sources: n texts to copy from.
        max_new_tokens: see ``generate``, like ``tokens_per_batch``.

    Returns:
        n texts, each with its log-likelihood in nats.
    """
    if llm.remember:

        def read(fresh: LanguageModel, some: list[Any]) -> list[tuple[str, float]]:
            asked, texts = zip(*some, strict=True)
            return copy_from(fresh, asked, texts, max_new_tokens, tokens_per_batch)

        items = list(zip(chats, sources, strict=True))
        made = remembered_by(llm, ["copy", max_new_tokens], items, read)
        return [(text, score) for text, score in made]
    tokenizer, stop = llm.tokenizer, llm.tokenizer.eos_token_id
    prompts = [
        tokenizer.apply_chat_template(chat, continue_final_message=True, return_dict=False)
        for chat in chats
    ]
    # With a blank before it, so that its first word is a token like those inside a sentence.
    copies = [tokenizer(f" {text}", add_special_tokens=False)["input_ids"] for text in sources]
    copied = [("", 0.0)] * len(chats)
    for batch in _batches(prompts, max_new_tokens, tokens_per_batch, "sources read"):
        padded = _padded(llm, [prompts[i] for i in batch])
        width = padded["input_ids"].shape[1]

        def allowed(
            row: int, ids: torch.Tensor, batch: list[int] = batch, width: int = width
        ) -> list[int]:
            said = ids[width:].tolist()
            if stop in said:
                return [stop]
            follow = next_tokens(copies[batch[row]], said, tokenizer)
            ended = bool(tokenizer.decode(said).strip()) or not follow
            return follow + [stop] * ended

        wanted: dict[str, Any] = {"prefix_allowed_tokens_fn": allowed, "output_logits": True}
        read = _read(llm, padded, max_new_tokens)
        tokens, logits = _decode(llm, padded, read, max_new_tokens, **wanted)
        del read
        each = [  # step by step: all steps' logits at once would be the notebook's peak memory
            step.float().log_softmax(-1).gather(1, token[:, None])
            for step, token in zip(logits, tokens.T, strict=True)
        ]
        of_tokens = torch.cat(each, dim=1) * (tokens != stop)
        texts = _texts(llm, tokens)
        for i, text, score in zip(batch, texts, of_tokens.sum(1).tolist(), strict=True):
            copied[i] = (text, score)
    return copied


def next_tokens(source: list[int], said: list[int], tokenizer: Any) -> list[int]:
    """What continues ``said`` somewhere in a source; at first, the tokens that begin a word.

    Args:
        source: the source's tokens.
        said: the tokens copied so far.
        tokenizer: tells which tokens begin a word.

    Returns:
        The tokens that are allowed next.
    """
    n = len(said)
    follow = [source[at + n] for at in range(len(source) - n) if source[at : at + n] == said]
    if said:
        return follow
    words = [tokenizer.convert_ids_to_tokens(token) for token in source]
    marked = [i for i, word in zip(source, words, strict=True) if word.startswith(WORD_MARKS)]
    if marked:
        return marked
    # This tokenizer marks what goes on with a word, or nothing: decoding shows where words begin.
    begun = source[:1]
    for before, token in pairwise(source):
        if tokenizer.decode([before, token]).endswith(f" {tokenizer.decode([token])}"):
            begun.append(token)
    return begun


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

        return np.array(remembered_by(llm, ["options"], [item], score)[0])
    padded = _padded(llm, _prompts(llm, [chat]))
    return _score(llm, padded, _read(llm, padded), 0, options)


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
    if llm.remember:

        def compute(fresh: LanguageModel, some: list[Any]) -> list[Any]:
            asked, fours = zip(*some, strict=True)
            both = generate_and_score(fresh, asked, fours, max_new_tokens, tokens_per_batch)
            return [(text, four.tolist()) for text, four in zip(*both, strict=True)]

        items = [(chat, list(four)) for chat, four in zip(chats, options, strict=True)]
        made = remembered_by(llm, ["both", max_new_tokens], items, compute)
        return [text for text, _ in made], [np.array(four) for _, four in made]
    prompts = _prompts(llm, chats)
    answers, scores = [""] * len(chats), [np.empty(0)] * len(chats)
    for batch in _batches(prompts, max_new_tokens, tokens_per_batch, "answers"):
        padded = _padded(llm, [prompts[i] for i in batch])
        read = _read(llm, padded, max_new_tokens)
        for row, i in enumerate(batch):
            scores[i] = _score(llm, padded, read, row, options[i])
        tokens, _ = _decode(llm, padded, read, max_new_tokens)
        del read
        for i, text in zip(batch, _texts(llm, tokens), strict=True):
            answers[i] = text
    return answers, scores


@torch.inference_mode()
def _score(
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


def _ask_endpoint(endpoint: Endpoint, chat: Chat, max_new_tokens: int) -> str:
    import openai
    from openai.types.chat import ChatCompletionMessageParam

    messages = cast(list[ChatCompletionMessageParam], chat)
    try:
        client = openai.OpenAI(
            base_url=endpoint.url, api_key=os.environ.get("OPENAI_API_KEY") or "none"
        )
        reply = client.chat.completions.create(
            model=endpoint.name, messages=messages, max_tokens=max_new_tokens, temperature=0
        )
    except openai.OpenAIError as error:
        raise ModelError(
            f"The endpoint {endpoint.url} did not answer ({error}); check COURSE_GENERATOR, the "
            "network and OPENAI_API_KEY."
        ) from error
    return (reply.choices[0].message.content or "").strip()


def count_tokens(llm: LanguageModel, chat: Chat) -> int:
    """Tokens of a chat as the model reads it, template included."""
    ids = llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    return len(ids)


# --- readers --------------------------------------------------------------------------------------


def read_with(
    llm: LanguageModel | Endpoint,
    questions: Sequence[str],
    found: Sequence[Sequence[NodeWithScore]],
) -> list[Answer]:
    """Answer each question from its nodes with a generator, and cite (see ``cite``)."""
    chats = [rag_chat(question, nodes) for question, nodes in zip(questions, found, strict=True)]
    return cite(generate(llm, chats), found)


def cite(texts: Sequence[str], found: Sequence[Sequence[NodeWithScore]]) -> list[Answer]:
    """What a generator wrote, each text with its page.

    A generator that names a source ("[2]") is believed; one that does not is given the source
    that best supports its words (see ``supporting_page``).
    """
    return [
        Answer(text, cited_page(text, nodes) or supporting_page(text, nodes))
        for text, nodes in zip(texts, found, strict=True)
    ]


def source_text(hit: NodeWithScore) -> str:
    """A node as a source: its title and its text."""
    return f"{hit.node.metadata.get('title', '')}\n{hit.node.get_content().strip()}"


def copy_chat(question: str, source: str) -> Chat:
    """The question before and after one source, and the beginning of the answer."""
    asked = f"Question: {question}"
    content = f"{asked}\n\nText: {source}\n\n{asked}\nThe answer, copied from the text:"
    return [
        {"role": "user", "content": content},
        {"role": "assistant", "content": "The answer is:"},
    ]


class CopyReader:
    """Answers with words copied out of one source: those that the model finds likeliest.

    A small model reads one source better than three, and copies badly unless it is made to. So it
    reads each source alone, may write only what continues a stretch of it, and the answer it is
    surest of wins, with that source's page. What was read is kept: arms that share sources are
    read once.

    Args:
        llm: a local model.
        max_new_tokens: length at which an answer is cut off.
        chat: puts a question and a source as a chat that ends with the beginning of the answer.
    """

    def __init__(
        self,
        llm: LanguageModel,
        max_new_tokens: int = 12,
        chat: Callable[[str, str], Chat] = copy_chat,
    ) -> None:
        self.llm = llm
        self.chat = chat
        self.max_new_tokens = max_new_tokens
        self._read: dict[tuple[str, str, str], Answer] = {}

    def __call__(
        self, questions: Sequence[str], found: Sequence[Sequence[NodeWithScore]]
    ) -> list[Answer]:
        """Answer each question from its nodes; a question without nodes is refused."""
        keys: list[list[tuple[str, str, str]]] = []
        new: dict[tuple[str, str, str], str] = {}
        for question, nodes in zip(questions, found, strict=True):
            # The text too: after an update a node of the same id may say something else.
            keys.append([(question, hit.node_id, source_text(hit)) for hit in nodes])
            for key, hit in zip(keys[-1], nodes, strict=True):
                if key not in self._read:
                    new[key] = page_of(hit.node)
        sources = [source for _, _, source in new]
        asked = [self.chat(question, source) for question, _, source in new]
        copied = copy_from(self.llm, asked, sources, self.max_new_tokens)
        for (key, page), (text, sureness) in zip(new.items(), copied, strict=True):
            self._read[key] = Answer(text, page, sureness)
        answers = []
        for some in keys:
            read = [self._read[key] for key in some]
            answers.append(max(read, key=lambda a: a.sureness or 0.0, default=Answer("")))
        return answers


def reader_of(llm: LanguageModel | Endpoint) -> Reader:
    """How a generator reads best: a local one copies, an endpoint answers and cites."""
    return CopyReader(llm) if isinstance(llm, LanguageModel) else partial(read_with, llm)


def extract_with(
    embedder: Embedder, questions: Sequence[str], found: Sequence[Sequence[NodeWithScore]]
) -> list[Answer]:
    """Answer each question with the retrieved sentence or table row most similar to it.

    An extractive reader: it cannot phrase, but it cannot invent either, and it always knows its
    source.
    """
    answers = []
    for question, nodes in zip(questions, found, strict=True):
        candidates = [
            (sentence, page_of(hit.node))
            for hit in nodes
            for sentence in sentences(hit.node.get_content())
        ]
        if not candidates:
            answers.append(Answer(""))
            continue
        vectors = embedder.encode([question, *(text for text, _ in candidates)])
        best = int(np.argmax(vectors[1:] @ vectors[0]))
        answers.append(Answer(*candidates[best]))
    return answers


def sentences(text: str) -> list[str]:
    """The sentences of Markdown prose, and its table rows, list items and code lines one by one."""
    parts = (
        part.strip() for line in text.splitlines() for part in re.split(r"(?<=[.!?])\s+", line)
    )
    return [part for part in parts if re.search(r"\w", part)]


def cited_page(text: str, nodes: Sequence[NodeWithScore]) -> str | None:
    """The page of the first source that an answer names as ``[n]``; None if it names none."""
    for number in re.findall(r"\[(\d+)\]", text):
        if 1 <= int(number) <= len(nodes):
            return page_of(nodes[int(number) - 1].node)
    return None


def supporting_page(text: str, nodes: Sequence[NodeWithScore]) -> str | None:
    """The page of the source that shares most of an answer's words; the better ranked on a tie.

    None when no source shares a word.
    """
    words = _words(text)
    shared = [len(words & _words(found.node.get_content())) for found in nodes]
    if not shared or max(shared) == 0:
        return None
    return page_of(nodes[shared.index(max(shared))].node)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


# --- LlamaIndex -----------------------------------------------------------------------------------


class CourseLLM(CustomLLM):
    """A generator as a LlamaIndex LLM, for query engines and everything else that takes one."""

    max_new_tokens: int = 16
    _llm: LanguageModel | Endpoint = PrivateAttr()

    def __init__(self, llm: LanguageModel | Endpoint, **settings: Any) -> None:
        super().__init__(**settings)
        self._llm = llm

    @classmethod
    def class_name(cls) -> str:
        return "CourseLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            model_name=self._llm.name, context_window=8192, num_output=self.max_new_tokens
        )

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        chat = [{"role": "user", "content": prompt}]
        return CompletionResponse(text=generate(self._llm, [chat], self.max_new_tokens)[0])

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **_: Any
    ) -> CompletionResponseGen:
        whole = self.complete(prompt).text
        yield CompletionResponse(text=whole, delta=whole)

    def messages_to_prompt(self, messages: Sequence[ChatMessage]) -> str:  # type: ignore[misc]
        return "\n\n".join(message.content or "" for message in messages)
