"""BM25: the course's retriever against rank_bm25, on the handbook's chunks.

Both get the same words and answer the same questions. rank_bm25's Okapi computes the rarity of a
word by another formula; it is given ours, so that the rankings must be the same and only the work
differs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from rank_bm25 import BM25Okapi

from benchmarks.measure import Measured, Row, compare, in_turns
from course_utils.models.embedding import load_embedder
from course_utils.search.chunking import SpanSplitter, packed_blocks
from course_utils.search.retrieval import BM25Retriever, content_words, title_and_text
from course_utils.tasks.handbook import load_handbook, load_questions

RIVALS = ("rank-bm25",)
TOP = 10


def measure(small: bool = False) -> list[Row]:
    """Questions a second of both, and how often their rankings agree."""
    splitter = SpanSplitter(packed_blocks(load_embedder().tokenizer, size=96))
    nodes = splitter.get_nodes_from_documents(load_handbook()[: 50 if small else None])
    texts = [question.text for question in load_questions(kind="stress")][: 40 if small else None]
    ours = BM25Retriever(nodes)
    theirs = lucene(content_words([title_and_text(node) for node in ours.nodes]))

    def ask_ours(text: str) -> tuple[list[str], list[float]]:
        found = ours.search([text], TOP)[0]
        return [hit.node_id for hit in found], [hit.get_score() for hit in found]

    def ask_theirs(text: str) -> tuple[list[str], list[float]]:
        scores = theirs.get_scores(content_words([text])[0])
        best = np.argsort(-scores, kind="stable")[:TOP]
        return [ours.nodes[place].node_id for place in best], scores[best].tolist()

    arms = {
        "BM25Retriever": lambda: rate(ask_ours, texts),
        "rank_bm25": lambda: rate(ask_theirs, texts),
    }
    measured = in_turns(arms, rounds=2 if small else 7)
    pairs = [(ask_ours(text), ask_theirs(text)) for text in texts]
    same = sum(one[0] == other[0][: len(one[0])] for one, other in pairs)
    near = sum(np.allclose(one[1], other[1][: len(one[1])], rtol=1e-4) for one, other in pairs)
    note = (
        f"{len(nodes):,} chunks, top {TOP}; of {len(texts)} questions {same} ranked the same, "
        f"{near} with the same scores"
    )
    return compare(measured, *arms, note=note)


def rate(ask: Callable[[str], object], texts: list[str]) -> Measured:
    """Questions answered in a second, one after the other."""
    began = time.perf_counter()
    for text in texts:
        ask(text)
    return {"questions a second": len(texts) / (time.perf_counter() - began)}


def lucene(words: list[list[str]]) -> BM25Okapi:
    """rank_bm25 with the rarity that bm25s uses (Lucene's).

    Its second difference, a factor of k1 + 1 in every score, is divided out with the rarity.
    """
    index = BM25Okapi(words, k1=1.5, b=0.75)
    for word in index.idf:
        holders = sum(word in page for page in index.doc_freqs)
        rarity = math.log(1 + (len(words) - holders + 0.5) / (holders + 0.5))
        index.idf[word] = rarity / (index.k1 + 1)
    return index
