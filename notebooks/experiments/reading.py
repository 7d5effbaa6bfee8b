"""Reading the handbook: what notebook 05 retrieves, read by its reader and by adapters."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from llama_index.core.schema import NodeWithScore

from course_utils.evaluate.metrics import gold_coverage
from course_utils.generate.reading import read_with
from course_utils.search.chunking import SpanSplitter, packed_blocks
from course_utils.search.fusion import FusedRetriever
from course_utils.search.retrieval import BM25Retriever, DenseRetriever
from course_utils.tasks import handbook
from course_utils.tasks.copying import CopyReader
from course_utils.tasks.handbook import load_handbook, load_questions
from course_utils.tune.adapters import attached
from course_utils.tune.training import train
from notebooks.experiments.bench import LONG, Arms, Bench, read_by_adapter, reader_lessons


def reader_experiment(lab: Bench) -> Arms:
    """Reading the handbook: what notebook 05 retrieves, read by its reader and by adapters."""
    splitter = SpanSplitter(packed_blocks(lab.embedder.tokenizer, 96))
    nodes = splitter.get_nodes_from_documents(load_handbook())
    search = FusedRetriever([BM25Retriever(nodes), DenseRetriever(nodes, lab.embedder)], k=10)
    test = lab.some(load_questions("test", "stress"))
    found = [hits[:3] for hits in search.search([q.text for q in test], 50)]
    sure = lab.some([q for q in load_questions("test", "stress") if q.answerable])
    everything = [NodeWithScore(node=node, score=1.0) for node in nodes]
    gold = [[hit for hit in everything if gold_coverage([hit], q.gold) > 0] for q in sure]
    settings = {"retrieved": (test, found), "gold": (sure, gold)}

    def read(reader: Any, asked: Any, hits: Any) -> dict[str, Any]:
        began = time.perf_counter()
        answers = reader([q.text for q in asked], hits)
        seconds = round((time.perf_counter() - began) / len(asked), 3)
        return {"scores": handbook.score_reading(answers, asked, hits), "seconds": seconds}

    lessons = reader_lessons(nodes, search)

    def copy_by_adapter(asked: Any, hits: Any) -> dict[str, Any]:
        with attached(lab.llm, train(lab.llm, lab.some(lessons), lab.recipe(LONG))):
            return read(CopyReader(lab.llm, chat=handbook.copying_chat), asked, hits)

    readers: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
        "LoRA": partial(read_by_adapter, lab, lessons),
        "copy": lambda asked, hits: read(CopyReader(lab.llm), asked, hits),
        "base": partial(read, partial(read_with, lab.llm)),
        "LoRA, copying": copy_by_adapter,
    }
    for name, reader in readers.items():
        for sources, (asked, hits) in settings.items():
            yield f"{name}, {sources}", partial(reader, asked, hits)
