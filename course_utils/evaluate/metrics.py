"""Score rankings: trec_eval's metrics, and how much of the gold text was retrieved.

Notebooks 02 and 05.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytrec_eval
from llama_index.core.schema import NodeWithScore

from course_utils.search.documents import Question, Span, page_of, span_of
from course_utils.search.retrieval import NodeRetriever


def page_run(hits: Sequence[NodeWithScore]) -> dict[str, float]:
    """A ranking of pages out of a ranking of nodes: a page scores as its best node.

    Args:
        hits: retrieved nodes, higher scores better.
    """
    run: dict[str, float] = {}
    for hit in hits:
        page = page_of(hit.node)
        run[page] = max(hit.get_score(), run.get(page, -np.inf))
    return run


def retrieval_scores(
    runs: Mapping[str, Mapping[str, float]],
    questions: Sequence[Question],
    metrics: Sequence[str] = ("recall_5", "recip_rank", "ndcg_cut_10"),
    least_grade: int | None = None,
) -> dict[str, np.ndarray]:
    """Score rankings with trec_eval's own code (pytrec_eval: Van Gysel and de Rijke, 2018).

    Args:
        runs: question id to {document id: score}; a missing or empty one scores 0.
        questions: those with grades; the others are left out.
        metrics: trec_eval names, such as "recall_5" or "ndcg_cut_10".
        least_grade: the lowest grade that counts as relevant for binary metrics such as recall.
            By default 2, as in the handbook, where 1 only means related; or 1, where no question
            has a grade above 1 (most BEIR collections). Pass 1 for a graded collection in which
            every grade above 0 is relevant, as BEIR counts them.

    Returns:
        For each metric the scores of the judged questions, in their order.
    """
    judged = [question for question in questions if question.grades]
    if least_grade is None:
        highest = max((max(question.grades.values()) for question in judged), default=2)
        least_grade = 2 if highest >= 2 else 1
    # trec_eval fills its cut-offs by family; asking for "recall.5" gives "recall_5".
    wanted = {re.sub(r"_(\d+)$", r".\1", metric) for metric in metrics}
    evaluator = pytrec_eval.RelevanceEvaluator(
        {question.id: question.grades for question in judged}, wanted, relevance_level=least_grade
    )
    scores = evaluator.evaluate({q.id: dict(runs.get(q.id, {})) for q in judged})
    return {
        metric: np.array([scores.get(question.id, {}).get(metric, 0.0) for question in judged])
        for metric in metrics
    }


def evaluate_retrieval(
    retriever: NodeRetriever,
    questions: Sequence[Question],
    metrics: Sequence[str] = ("ndcg_cut_10", "recall_10"),
    depth: int = 100,
    least_grade: int | None = None,
) -> dict[str, np.ndarray]:
    """Search, and score the rankings of pages; see ``retrieval_scores``.

    Args:
        retriever: what to score.
        questions: those with grades are scored.
        metrics: trec_eval names.
        depth: nodes asked for; enough that more than the metrics' pages are among them.
        least_grade: see ``retrieval_scores``.
    """
    judged = [question for question in questions if question.grades]
    found = retriever.search([question.text for question in judged], depth)
    runs = {}
    for question, hits in zip(judged, found, strict=True):
        runs[question.id] = page_run(hits)
        runs[question.id].pop(question.id, None)  # BEIR: a question may be a document too
    return retrieval_scores(runs, judged, metrics, least_grade)


def gold_coverage(hits: Sequence[NodeWithScore], gold: Sequence[Span]) -> float:
    """The share of gold characters that stand in the retrieved nodes, 0 to 1.

    Args:
        hits: retrieved nodes: chunks with offsets into their pages, or whole pages.
        gold: the spans that answer the question, at least one.
    """
    covered = total = 0
    for span in gold:
        wanted = np.zeros(span.end - span.start, dtype=bool)
        for hit in hits:
            if page_of(hit.node) == span.page:
                place = span_of(hit.node)
                wanted[max(place.start - span.start, 0) : max(place.end - span.start, 0)] = True
        covered += int(wanted.sum())
        total += len(wanted)
    return covered / total


def gold_iou(hits: Sequence[NodeWithScore], gold: Sequence[Span]) -> float:
    """Intersection over union of retrieved and gold characters, as Chroma's chunking evaluation.

    Text that overlapping nodes bring twice counts twice in what was retrieved (Smith and
    Troynikov, 2024), so that it costs what it costs in a prompt.
    """
    wanted = sum(span.end - span.start for span in gold)
    shared = gold_coverage(hits, gold) * wanted
    places = [span_of(hit.node) for hit in hits]
    read = sum(place.end - place.start for place in places)
    return shared / (read + wanted - shared)
