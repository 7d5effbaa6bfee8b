"""Rerank by how likely a language model finds the question, given the passage. Notebook 04."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from llama_index.core.schema import BaseNode
from pydantic import PrivateAttr

from course_utils.models.cache import Batches, cached_by_model, in_order
from course_utils.models.generator import LanguageModel
from course_utils.models.weights import release_memory
from course_utils.search.reranking import Reranker


class QueryLikelihood(Reranker):
    """log p(question | passage) under a language model, without training.

    The idea is Ponte and Croft's (1998), with a pretrained model in place of word counts as in
    Sachan et al. (2022). One forward pass a candidate: keep them few and short.
    """

    _llm: LanguageModel = PrivateAttr()

    def __init__(
        self, llm: LanguageModel, chunks: Sequence[BaseNode] = (), top_k: int | None = None
    ) -> None:
        """See ``Reranker``; candidates judged as all their chunks take as many passes."""
        super().__init__(chunks, top_k)
        self._llm = llm

    def _score(self, question: str, nodes: list[BaseNode]) -> Sequence[float]:
        def compute(llm: LanguageModel, prompts: Sequence[str]) -> Batches:
            for start in range(0, len(prompts), 4):
                scores = likelihoods(llm, question, prompts[start : start + 4])
                yield dict(enumerate(scores, start=start))
            release_memory()  # passes of ever new shapes would scatter the heap

        prompts = [reading_prompt(node, self._llm.tokenizer) for node in nodes]
        if self._llm.remember:
            return cached_by_model(self._llm, ["likelihood", question], prompts, compute)
        return in_order(compute(self._llm, prompts))


@torch.inference_mode()
def likelihoods(llm: LanguageModel, question: str, prompts: Sequence[str]) -> list[float]:
    """The mean log-probability, in nats, of a question's tokens behind each prompt."""
    before = [llm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts]
    asked = llm.tokenizer(question, add_special_tokens=False)["input_ids"]
    padded = llm.tokenizer.pad({"input_ids": [ids + asked for ids in before]}, return_tensors="pt")
    mask = padded["attention_mask"]  # padding stands on the left
    places = (mask.cumsum(1) - 1).clamp(min=0)
    read = llm.model(**padded, position_ids=places, logits_to_keep=len(asked) + 1, use_cache=False)
    logprobs = read.logits[:, :-1].float().log_softmax(-1)
    wanted = torch.tensor(asked).expand(len(prompts), -1).unsqueeze(2)
    return logprobs.gather(2, wanted).squeeze(2).mean(1).tolist()


def reading_prompt(node: BaseNode, tokenizer: Any = None) -> str:
    """What the model reads before the question: the passage with its title.

    Args:
        node: the passage.
        tokenizer: the model's, whose chat template is used, or plain text where it has none. By
            default the prompt is in the format of SmolLM2, the course's generator.
    """
    passage = f"{node.metadata.get('title', '')}\n{node.get_content().strip()}"
    asked = f"Passage: {passage}\n\nWrite a question that this passage answers."
    if tokenizer is None:
        return f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    if not tokenizer.chat_template:
        return f"{tokenizer.bos_token or ''}{asked}\n"
    return first_turn(tokenizer, {"role": "user", "content": asked})


def first_turn(tokenizer: Any, message: dict[str, str]) -> str:
    """A user's message as a chat's first turn, without a system message of the template's own.

    Such a message ("You are a helpful assistant …") says nothing about a passage, and every
    candidate would pay for its tokens.
    """
    earlier = [message, {"role": "assistant", "content": "Yes."}]
    before = tokenizer.apply_chat_template(earlier, tokenize=False)
    render = partial(tokenizer.apply_chat_template, add_generation_prompt=True, tokenize=False)
    turn, whole = render([*earlier, message]).removeprefix(before), render([message])
    if not whole.endswith(turn):  # this template writes later turns differently
        return whole
    first = tokenizer.bos_token or ""
    return first + turn if whole.startswith(first) and not turn.startswith(first) else turn
