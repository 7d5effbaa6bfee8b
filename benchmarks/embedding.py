"""Embedding: the course's embedder, in float32 and in int8, against sentence-transformers.

    python -m pip install sentence-transformers
    python benchmarks/embedding.py [CHUNKS]

All have the same weights and embed the same chunks of the handbook, one after the other, in turns.
sentence-transformers runs as it comes: ``SentenceTransformer(folder).encode(texts)``. Then all
chunks are searched with each one's vectors, and nDCG@10 of pages is compared on all questions.
CHUNKS says how many of them to time, all when it is missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore
from sentence_transformers import SentenceTransformer

from course_utils.chunking import SpanSplitter, packed_blocks
from course_utils.corpus import load_handbook, load_questions
from course_utils.evaluation import page_run, paired_difference, retrieval_scores
from course_utils.models import DEFAULTS, fetch, load_embedder

Encode = Callable[[list[str]], np.ndarray]
ROUNDS = 5
SIZE = 192


def main(chunks: int | None) -> None:
    """Print chunks per second, their ratio to sentence-transformers, and nDCG@10 of each."""
    exact, int8 = load_embedder(), load_embedder(int8=True)
    plain = SentenceTransformer(str(fetch(DEFAULTS["embedder"])), device="cpu")
    arms: dict[str, Encode] = {
        "sentence-transformers": lambda texts: plain.encode(texts, show_progress_bar=False),
        "course, float32": exact.encode,
        "course, int8": int8.encode,
    }
    splitter = SpanSplitter(packed_blocks(exact.tokenizer, SIZE))
    nodes = splitter.get_nodes_from_documents(load_handbook())
    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    timed = texts[:: max(1, len(texts) // chunks)] if chunks else texts
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for encode in arms.values():
        encode(timed[:32])
    for _ in range(ROUNDS):
        for name, encode in arms.items():
            began = time.perf_counter()
            encode(timed)
            seconds[name].append(time.perf_counter() - began)
    base = seconds["sentence-transformers"]
    print(f"{len(timed)} chunks of at most {SIZE} tokens, {ROUNDS} rounds in turns")
    for name, measured in seconds.items():
        rates = [len(timed) / one for one in measured]
        ratios = [first / one for first, one in zip(base, measured, strict=True)]
        print(
            f"{name}: {median(rates):.0f} chunks a second ({min(rates):.0f} to {max(rates):.0f}), "
            f"{median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    scores = {name: ndcg(nodes, texts, encode) for name, encode in arms.items()}
    before = scores["sentence-transformers"]
    for name, after in scores.items():
        lost = paired_difference(after, before)
        change = f"{lost.value:+.4f} [{lost.low:+.4f}, {lost.high:+.4f}]"
        print(f"{name}: nDCG@10 {after.mean():.4f}, change {change}, n = {lost.n}")


def ndcg(nodes: list[BaseNode], texts: list[str], encode: Encode) -> np.ndarray:
    """nDCG@10 of pages, a page scored as its best chunk, for every answerable question."""
    questions = [question for question in load_questions() if question.answerable]
    vectors = encode(texts)
    asked = encode([question.text for question in questions])
    runs = {}
    for question, cosines in zip(questions, asked @ vectors.T, strict=True):
        best = np.argsort(-cosines)[:200]
        hits = [NodeWithScore(node=nodes[place], score=float(cosines[place])) for place in best]
        runs[question.id] = page_run(hits)
    return retrieval_scores(runs, questions, ["ndcg_cut_10"])["ndcg_cut_10"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
