"""Retrieval: the course's retrievers against LlamaIndex's quick-start index.

Both index the same nodes with the same embedder; the quick start is ``VectorStoreIndex(nodes)``
over its ``SimpleVectorStore``, and ``as_retriever``. Building is measured with embedding and
without (the vectors known: LlamaIndex reads them from the nodes, the course from its cache).
Searching includes embedding the question.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import BaseNode, NodeWithScore

from benchmarks.measure import Measured, Row, compare, in_turns
from course_utils.evaluate.intervals import paired_difference
from course_utils.evaluate.metrics import page_run, retrieval_scores
from course_utils.models.embedding import Embedder, load_embedder
from course_utils.search.chunking import SpanSplitter, packed_blocks
from course_utils.search.fusion import FusedRetriever
from course_utils.search.retrieval import BM25Retriever, DenseRetriever
from course_utils.tasks.handbook import load_handbook, load_questions

RIVALS = ("llama-index", "faiss-cpu")
RIVAL = "VectorStoreIndex"
TOP = 10
Search = Callable[[list[str]], Sequence[list[NodeWithScore]]]


def measure(small: bool = False) -> list[Row]:
    """Seconds to build, questions a second and nDCG@10 of each."""
    embedder = load_embedder()
    splitter = SpanSplitter(packed_blocks(embedder.tokenizer, size=96))
    nodes = splitter.get_nodes_from_documents(load_handbook()[:: 50 if small else 1])
    questions = [question for question in load_questions(kind="stress") if question.answerable]
    texts = [question.text for question in questions]
    with tempfile.TemporaryDirectory() as cache:  # the models are loaded: only vectors go here
        os.environ["COURSE_CACHE"] = cache
        rows = build(nodes, embedder, small)
        dense = DenseRetriever(nodes, embedder, TOP)
    quick = VectorStoreIndex(nodes, embed_model=embedder).as_retriever(similarity_top_k=TOP)
    fused = FusedRetriever([dense, BM25Retriever(nodes)], TOP)
    searches: dict[str, Search] = {
        "DenseRetriever": lambda asked: [dense.retrieve(text) for text in asked],
        "DenseRetriever, all at once": dense.search,
        "FusedRetriever, all at once": fused.search,
        RIVAL: lambda asked: [quick.retrieve(text) for text in asked],
    }
    some = texts[:: 10 if small else 1]
    arms = {name: (lambda search=search: rate(search, some)) for name, search in searches.items()}
    measured = in_turns(arms, rounds=2 if small else 5)
    scores = {name: ndcg(search, questions, texts) for name, search in searches.items()}
    for name in list(arms)[:3]:
        rows += compare(measured, name, RIVAL)
        change = paired_difference(scores[name], scores[RIVAL])
        note = f"difference {change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
        means = [float(scores[each].mean()) for each in (name, RIVAL)]
        rows.append(Row("nDCG@10", name, RIVAL, means[:1], means[1:], f"{note}, n = {change.n}"))
    return rows


def build(nodes: list[BaseNode], embedder: Embedder, small: bool) -> list[Row]:
    """Seconds to build with embedding, and with the vectors known."""
    folder = os.environ["COURSE_CACHE"]
    known = [node.model_copy() for node in nodes]

    def cold() -> object:
        os.environ["COURSE_CACHE"] = tempfile.mkdtemp(dir=folder)
        return DenseRetriever(nodes, embedder)

    def warm() -> object:
        os.environ["COURSE_CACHE"] = folder
        return DenseRetriever(nodes, embedder)

    vectors = DenseRetriever(nodes, embedder).vectors
    place = {node.node_id: at for at, node in enumerate(sorted(nodes, key=lambda n: n.node_id))}
    for node in known:
        node.embedding = vectors[place[node.node_id]].tolist()
    rows = []
    for measure, ours, theirs, rounds in (
        ("seconds to build, embedding included", cold, nodes, 3),
        ("seconds to build, vectors known", warm, known, 7),
    ):
        arms = {
            "DenseRetriever": lambda ours=ours, measure=measure: seconds(ours, measure),
            RIVAL: lambda theirs=theirs, measure=measure: seconds(
                lambda: VectorStoreIndex(theirs, embed_model=embedder), measure
            ),
        }
        measured = in_turns(arms, rounds=1 if small else rounds)
        rows += compare(measured, *arms, note=f"{len(nodes):,} chunks")
    os.environ["COURSE_CACHE"] = folder
    return rows


def seconds(make: Callable[[], object], measure: str) -> Measured:
    """How long something takes."""
    began = time.perf_counter()
    make()
    return {measure: time.perf_counter() - began}


def rate(search: Search, texts: list[str]) -> Measured:
    """Questions answered in a second."""
    return {"questions a second": len(texts) / seconds(lambda: search(texts), "")[""]}


def ndcg(search: Search, questions: Sequence, texts: list[str]) -> np.ndarray:
    """nDCG@10 of pages, a page scored as its best chunk."""
    runs = {q.id: page_run(hits) for q, hits in zip(questions, search(texts), strict=True)}
    return retrieval_scores(runs, questions, ["ndcg_cut_10"])["ndcg_cut_10"]
