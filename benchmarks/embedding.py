"""Embedding: the course's embedder, in float32 and in int8, against sentence-transformers.

All have the same weights and embed the same chunks of the handbook. sentence-transformers runs as
it comes: ``SentenceTransformer(folder).encode(texts)``. A sample is timed. Then all chunks are
searched with each one's vectors, and nDCG@10 of pages is compared on all questions.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore
from sentence_transformers import SentenceTransformer

from benchmarks.measure import Measured, Row, compare, in_turns
from course_utils.evaluate.intervals import paired_difference
from course_utils.evaluate.metrics import page_run, retrieval_scores
from course_utils.lab.quantized import quantize
from course_utils.models.embedding import load_embedder
from course_utils.models.fetching import fetch
from course_utils.models.registry import DEFAULTS
from course_utils.search.chunking import SpanSplitter, packed_blocks
from course_utils.tasks.handbook import load_handbook, load_questions

RIVALS = ("sentence-transformers",)
RIVAL = "sentence-transformers"
SIZE = 192
TIMED = 400
Encode = Callable[[list[str]], np.ndarray]


def measure(small: bool = False) -> list[Row]:
    """Chunks a second and nDCG@10 of each."""
    exact, int8 = load_embedder(), quantize(load_embedder())
    plain = SentenceTransformer(str(fetch(DEFAULTS["embedder"])), device="cpu")
    encoders: dict[str, Encode] = {
        "Embedder, float32": exact.encode,
        "Embedder, int8": int8.encode,
        RIVAL: lambda texts: plain.encode(texts, show_progress_bar=False),
    }
    splitter = SpanSplitter(packed_blocks(exact.tokenizer, SIZE))
    nodes = splitter.get_nodes_from_documents(load_handbook()[:: 50 if small else 1])
    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    timed = texts[:: max(1, len(texts) // TIMED)]
    for encode in encoders.values():
        encode(timed[:32])
    arms = {name: (lambda encode=encode: rate(encode, timed)) for name, encode in encoders.items()}
    measured = in_turns(arms, rounds=2 if small else 5)
    scores = {name: ndcg(nodes, texts, encode) for name, encode in encoders.items()}
    rows = []
    for name in list(encoders)[:2]:
        change = paired_difference(scores[name], scores[RIVAL])
        rows += compare(measured, name, RIVAL, note=f"{len(timed)} chunks of {SIZE} tokens")
        note = f"difference {change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
        means = [float(scores[each].mean()) for each in (name, RIVAL)]
        rows.append(Row("nDCG@10", name, RIVAL, means[:1], means[1:], f"{note}, n = {change.n}"))
    return rows


def rate(encode: Encode, texts: list[str]) -> Measured:
    """Chunks embedded in a second."""
    began = time.perf_counter()
    encode(texts)
    return {"chunks a second": len(texts) / (time.perf_counter() - began)}


def ndcg(nodes: list[BaseNode], texts: list[str], encode: Encode) -> np.ndarray:
    """nDCG@10 of pages, a page scored as its best chunk, for every answerable question."""
    questions = [question for question in load_questions(kind="stress") if question.answerable]
    vectors = encode(texts)
    asked = encode([question.text for question in questions])
    runs = {}
    for question, cosines in zip(questions, asked @ vectors.T, strict=True):
        best = np.argsort(-cosines)[:200]
        hits = [NodeWithScore(node=nodes[place], score=float(cosines[place])) for place in best]
        runs[question.id] = page_run(hits)
    return retrieval_scores(runs, questions, ["ndcg_cut_10"])["ndcg_cut_10"]
