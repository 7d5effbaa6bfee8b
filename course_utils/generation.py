"""From retrieved nodes to an answer: prompts, batched decoding, citations, LlamaIndex's LLM.

A chat is a list of ``{"role": ..., "content": ...}`` messages, as everywhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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

from course_utils.models import Embedder, Endpoint, LanguageModel, ModelError, release_memory
from course_utils.progress import progress

Chat = list[dict[str, str]]

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
    tokens_per_batch: int = 1536,
) -> list[str]:
    """Decode greedily, many chats at a time.

    Args:
        llm: a local model or an endpoint.
        chats: n chats, each ending with a user message.
        max_new_tokens: length at which an answer is cut off.
        tokens_per_batch: upper bound on padded prompt tokens run at once, which bounds memory.

    Returns:
        n answers, in the order of the chats.
    """
    if isinstance(llm, Endpoint):
        return [_ask_endpoint(llm, chat, max_new_tokens) for chat in progress(chats, "answers")]
    prompts = [
        llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        for chat in chats
    ]
    answers = [""] * len(chats)
    for batch in _batches(prompts, max_new_tokens, tokens_per_batch, "answers"):
        texts = _decode(llm, [prompts[i] for i in batch], max_new_tokens)
        for i, text in zip(batch, texts, strict=True):
            answers[i] = text
    return answers


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


@torch.inference_mode()
def _decode(llm: LanguageModel, prompts: list[list[int]], max_new_tokens: int) -> list[str]:
    padded = llm.tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
    out = llm.model.generate(
        **padded,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=llm.tokenizer.pad_token_id,
    )
    fresh = out[:, padded["input_ids"].shape[1] :]
    return [text.strip() for text in llm.tokenizer.batch_decode(fresh, skip_special_tokens=True)]


@torch.inference_mode()
def copy_from(
    llm: LanguageModel,
    chats: Sequence[Chat],
    sources: Sequence[str],
    max_new_tokens: int = 12,
    tokens_per_batch: int = 1536,
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
    tokenizer, stop = llm.tokenizer, llm.tokenizer.eos_token_id
    prompts = [
        tokenizer.apply_chat_template(chat, continue_final_message=True, return_dict=False)
        for chat in chats
    ]
    # With a blank before it, so that its first word is a token like those inside a sentence.
    copies = [tokenizer(f" {text}", add_special_tokens=False)["input_ids"] for text in sources]
    copied = [("", 0.0)] * len(chats)
    for batch in _batches(prompts, max_new_tokens, tokens_per_batch, "sources read"):
        padded = tokenizer.pad({"input_ids": [prompts[i] for i in batch]}, return_tensors="pt")
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

        out = llm.model.generate(
            **padded,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            prefix_allowed_tokens_fn=allowed,
            output_logits=True,
            return_dict_in_generate=True,
        )
        fresh = out.sequences[:, width:]
        each = [  # step by step: all steps' logits at once would be the notebook's peak memory
            step.float().log_softmax(-1).gather(1, token[:, None])
            for step, token in zip(out.logits, fresh.T, strict=True)
        ]
        of_tokens = torch.cat(each, dim=1) * (fresh != stop)
        texts = tokenizer.batch_decode(fresh, skip_special_tokens=True)
        for i, text, score in zip(batch, texts, of_tokens.sum(1).tolist(), strict=True):
            copied[i] = (text.strip(), score)
    return copied


def next_tokens(source: list[int], said: list[int], tokenizer: Any) -> list[int]:
    """What continues ``said`` somewhere in a source; at first, the tokens that begin a word."""
    n = len(said)
    follow = [source[at + n] for at in range(len(source) - n) if source[at : at + n] == said]
    if said:
        return follow
    return [token for token in follow if tokenizer.convert_ids_to_tokens(token)[0] in "ĠĊ"]


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
    prompt = llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    ids = [llm.tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
    read = llm.model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
    read.past_key_values.batch_repeat_interleave(len(ids))
    longest = max(map(len, ids))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    logits = llm.model(padded, past_key_values=read.past_key_values).logits
    # The first token is predicted by the prompt's end, every later one by the token before it.
    first = read.logits.expand(len(ids), 1, -1)
    logprobs = torch.cat([first, logits[:, :-1]], dim=1).float().log_softmax(-1)
    of_tokens = logprobs.gather(2, padded.unsqueeze(2)).squeeze(2)
    return np.array([of_tokens[i, : len(row)].mean().item() for i, row in enumerate(ids)])


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
    """Answer each question from its nodes with a generator, and cite.

    A generator that names a source ("[2]") is believed; one that does not is given the source
    that best supports its words (see ``supporting_page``).
    """
    chats = [rag_chat(question, nodes) for question, nodes in zip(questions, found, strict=True)]
    return [
        Answer(text, cited_page(text, nodes) or supporting_page(text, nodes))
        for text, nodes in zip(generate(llm, chats), found, strict=True)
    ]


class CopyReader:
    """Answers with words copied out of one source: those that the model finds likeliest.

    A small model reads one source better than three, and copies badly unless it is made to. So it
    reads each source alone, may write only what continues a stretch of it, and the answer it is
    surest of wins, with that source's page. What was read is kept: arms that share sources are
    read once.
    """

    def __init__(self, llm: LanguageModel, max_new_tokens: int = 12) -> None:
        self.llm = llm
        self.max_new_tokens = max_new_tokens
        self._read: dict[tuple[str, str], Answer] = {}

    def __call__(
        self, questions: Sequence[str], found: Sequence[Sequence[NodeWithScore]]
    ) -> list[Answer]:
        """Answer each question from its nodes; a question without nodes is refused."""
        pairs = [(q, hit) for q, nodes in zip(questions, found, strict=True) for hit in nodes]
        new = {(q, hit.node_id): (q, hit) for q, hit in pairs if (q, hit.node_id) not in self._read}
        sources = [source_text(hit) for _, hit in new.values()]
        asked = [copy_chat(q, text) for (q, _), text in zip(new.values(), sources, strict=True)]
        copied = copy_from(self.llm, asked, sources, self.max_new_tokens)
        for (key, (_, hit)), (text, sureness) in zip(new.items(), copied, strict=True):
            self._read[key] = Answer(text, hit.node.ref_doc_id or hit.node_id, sureness)
        return [
            max(
                (self._read[question, hit.node_id] for hit in nodes),
                key=lambda answer: answer.sureness or 0.0,
                default=Answer(""),
            )
            for question, nodes in zip(questions, found, strict=True)
        ]


def reader_of(llm: LanguageModel | Endpoint) -> Reader:
    """How a generator reads best: a local one copies, an endpoint answers and cites."""
    return CopyReader(llm) if isinstance(llm, LanguageModel) else partial(read_with, llm)


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
            (sentence, hit.node.ref_doc_id) for hit in nodes for sentence in sentences(hit.text)
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
            return nodes[int(number) - 1].node.ref_doc_id
    return None


def supporting_page(text: str, nodes: Sequence[NodeWithScore]) -> str | None:
    """The page of the source that shares most of an answer's words; the better ranked on a tie.

    None when no source shares a word.
    """
    words = _words(text)
    shared = [len(words & _words(found.text)) for found in nodes]
    if not shared or max(shared) == 0:
        return None
    return nodes[shared.index(max(shared))].node.ref_doc_id


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
