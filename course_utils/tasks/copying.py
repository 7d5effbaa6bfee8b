"""A reader that copies its answer out of one source: what a 135M model needs. Notebook 05."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from llama_index.core.schema import NodeWithScore

from course_utils.generate.citing import Answer
from course_utils.generate.decoding import batches, decode, decoded_texts, pad_prompts, read_prompts
from course_utils.generate.prompting import Chat, source_text
from course_utils.generate.reading import Reader, read_with
from course_utils.models.cache import Batches, cached_by_model, in_order
from course_utils.models.generator import Endpoint, LanguageModel
from course_utils.search.documents import page_of

# How tokens begin that begin a word or a line: those of byte-level BPE, then SentencePiece's.
WORD_MARKS = ("Ġ", "Ċ", "▁", "\n", "<0x0A>")


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
    items = list(zip(chats, sources, strict=True))

    def compute(model: LanguageModel, some: Sequence[Any]) -> Batches:
        return _copy(model, some, max_new_tokens, tokens_per_batch)

    if llm.remember:
        copied = cached_by_model(llm, ["copy", max_new_tokens], items, compute)
    else:
        copied = in_order(compute(llm, items))
    return [(text, score) for text, score in copied]


def _copy(
    llm: LanguageModel, items: Sequence[Any], max_new_tokens: int, tokens_per_batch: int
) -> Batches:
    """Copies batch by batch, so that each batch can be saved when it is done."""
    tokenizer = llm.tokenizer
    prompts, copies = [], []
    for chat, source in items:
        ids = tokenizer.apply_chat_template(chat, continue_final_message=True, return_dict=False)
        prompts.append(ids)
        # With a blank before it, so that its first word is a token like those inside a sentence.
        copies.append(tokenizer(f" {source}", add_special_tokens=False)["input_ids"])
    for batch in batches(prompts, max_new_tokens, tokens_per_batch, "sources read"):
        padded = pad_prompts(llm, [prompts[i] for i in batch])
        allowed = _only_copies(tokenizer, [copies[i] for i in batch], padded["input_ids"].shape[1])
        read = read_prompts(llm, padded, max_new_tokens)
        tokens, logits = decode(
            llm, padded, read, max_new_tokens, prefix_allowed_tokens_fn=allowed, output_logits=True
        )
        del read
        scores = _log_likelihoods(logits, tokens, tokenizer.eos_token_id).tolist()
        texts = decoded_texts(llm, tokens)
        yield dict(zip(batch, zip(texts, scores, strict=True), strict=True))


def _only_copies(
    tokenizer: Any, copies: list[list[int]], width: int
) -> Callable[[int, torch.Tensor], list[int]]:
    """Which tokens may come next in each row: what continues a stretch of its source, or the end.

    Args:
        tokenizer: the model's.
        copies: each row's source as tokens.
        width: tokens of the padded prompts, which come before what is written.
    """
    stop = tokenizer.eos_token_id

    def allowed(row: int, ids: torch.Tensor) -> list[int]:
        written = ids[width:].tolist()
        if stop in written:
            return [stop]
        follow = next_tokens(copies[row], written, tokenizer)
        ended = bool(tokenizer.decode(written).strip()) or not follow
        return follow + [stop] * ended

    return allowed


@torch.inference_mode()
def _log_likelihoods(
    logits: Sequence[torch.Tensor], tokens: torch.Tensor, stop: int
) -> torch.Tensor:
    """The log-likelihood of each row's tokens, without the one that ends it.

    Args:
        logits: for each step (rows, words).
        tokens: (rows, steps).
        stop: the token that ends a text.

    Returns:
        (rows,) in nats.
    """
    steps = []  # step by step: all steps' logits at once would be the notebook's peak memory
    for step, token in zip(logits, tokens.T, strict=True):
        steps.append(step.float().log_softmax(-1).gather(1, token[:, None]))  # (rows, 1)
    return (torch.cat(steps, dim=1) * (tokens != stop)).sum(1)


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
        self, questions: Sequence[str], hits: Sequence[Sequence[NodeWithScore]]
    ) -> list[Answer]:
        """Answer each question from its nodes; a question without nodes is refused."""
        keys: list[list[tuple[str, str, str]]] = []
        new: dict[tuple[str, str, str], str] = {}
        for question, own in zip(questions, hits, strict=True):
            # The text too: after an update a node of the same id may say something else.
            keys.append([(question, hit.node_id, source_text(hit)) for hit in own])
            for key, hit in zip(keys[-1], own, strict=True):
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


def default_reader(llm: LanguageModel | Endpoint) -> Reader:
    """How a generator reads best: a local one copies, an endpoint answers and cites."""
    return CopyReader(llm) if isinstance(llm, LanguageModel) else partial(read_with, llm)
