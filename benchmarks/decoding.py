"""Decoding: the course's batches against one ``model.generate`` a question.

The same model, prompts and number of tokens; the texts must be the same. Short prompts are
questions alone, long ones have three retrieved chunks in front of the question.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.measure import Row, compare, in_turns
from course_utils.generate.decoding import count_tokens, generate
from course_utils.generate.prompting import Chat, closed_book_chat, rag_chat
from course_utils.models.embedding import load_embedder
from course_utils.models.generator import LanguageModel, load_generator
from course_utils.search.chunking import SpanSplitter, packed_blocks
from course_utils.search.retrieval import BM25Retriever
from course_utils.tasks.handbook import load_handbook, load_questions

RIVALS = ()
TOKENS = 16


def measure(small: bool = False) -> list[Row]:
    """Answers a second of both, on short and on long prompts, and how many texts are the same."""
    llm = load_generator()
    if not isinstance(llm, LanguageModel):
        raise SystemExit("decoding needs a local model; unset COURSE_GENERATOR.")
    texts = [question.text for question in load_questions("dev", "stress")][: 4 if small else 32]
    splitter = SpanSplitter(packed_blocks(load_embedder().tokenizer, size=96))
    retriever = BM25Retriever(splitter.get_nodes_from_documents(load_handbook()), top_k=3)
    found = retriever.search(texts)
    kinds = {
        "short": [closed_book_chat(text) for text in texts],
        "long": [rag_chat(*pair) for pair in zip(texts, found, strict=True)],
    }
    return [row for kind, chats in kinds.items() for row in _compare(llm, kind, chats, small)]


def _compare(llm: LanguageModel, kind: str, chats: list[Chat], small: bool) -> list[Row]:
    written: dict[str, list[str]] = {}

    def timed(name: str, answer: Callable[[], list[str]]) -> dict[str, float]:
        began = time.perf_counter()
        written[name] = answer()
        return {f"answers a second, {kind} prompts": len(chats) / (time.perf_counter() - began)}

    arms = {
        "generate": lambda: timed("generate", lambda: generate(llm, chats, TOKENS)),
        "one at a time": lambda: timed("one", lambda: [alone(llm, chat) for chat in chats]),
    }
    measured = in_turns(arms, rounds=1 if small else 3)
    same = sum(a == b for a, b in zip(written["generate"], written["one"], strict=True))
    mean = sum(count_tokens(llm, chat) for chat in chats) / len(chats)
    note = (
        f"{len(chats)} prompts of {mean:.0f} tokens on average, up to {TOKENS} new ones; "
        f"{same} texts the same"
    )
    return compare(measured, *arms, note=note)


def alone(llm: LanguageModel, chat: Chat) -> str:
    """One answer, as a model card shows it."""
    prompt = llm.tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        out = llm.model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
    fresh = out[0, prompt["input_ids"].shape[1] :]
    return llm.tokenizer.decode(fresh, skip_special_tokens=True).strip()
