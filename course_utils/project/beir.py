"""A collection in the BEIR format: read it, and score the course's retrievers on it.

Notebook 05.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from llama_index.core import Document

from course_utils.evaluate.metrics import evaluate_retrieval
from course_utils.models.embedding import Embedder
from course_utils.search.documents import (
    CorpusError,
    Question,
    json_lines,
    make_document,
    required_text,
)
from course_utils.search.fusion import FusedRetriever
from course_utils.search.mixing import default_reranker
from course_utils.search.reranking import RerankedRetriever
from course_utils.search.retrieval import BM25Retriever, DenseRetriever, NodeRetriever


def read_beir(folder: Path | str, split: str = "test") -> tuple[list[Document], list[Question]]:
    """Read a collection in the BEIR format (Thakur et al., 2021).

    Args:
        folder: holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``.
        split: which judgements to read.

    Returns:
        All documents, and the questions that have judgements, with those as ``grades``.

    Raises:
        CorpusError: a missing file, or a line that is not what the format says.
    """
    folder = Path(folder).expanduser()
    documents = []
    for where, record in json_lines(folder / "corpus.jsonl"):
        page_id, text = required_text(record, "_id", where), required_text(record, "text", where)
        document = make_document(page_id, text, {"title": record.get("title", "")})
        # What published numbers embed: title, space, text.
        document.metadata_template, document.text_template = "{value}", "{metadata_str} {content}"
        documents.append(document)
    queries = {
        required_text(record, "_id", where): required_text(record, "text", where)
        for where, record in json_lines(folder / "queries.jsonl")
    }
    grades: dict[str, dict[str, int]] = {}
    for query_id, page_id, grade in _qrels(folder / "qrels" / f"{split}.tsv"):
        grades.setdefault(query_id, {})[page_id] = grade
    missing = sorted(set(grades) - set(queries))
    if missing:
        raise CorpusError(f"{folder}: query {missing[0]!r} is judged but not in queries.jsonl.")
    return documents, [
        Question(id=query_id, text=queries[query_id], split=split, grades=judged)
        for query_id, judged in grades.items()
    ]


def _qrels(path: Path) -> Iterator[tuple[str, str, int]]:
    if not path.is_file():
        raise CorpusError(f"{path} is missing.")
    with path.open(encoding="utf8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t"), start=1):
            if number == 1 and row[:1] == ["query-id"]:
                continue
            try:
                query_id, page_id, grade = row
                yield query_id, page_id, int(grade)
            except ValueError as error:
                raise CorpusError(
                    f"{path}, line {number}: expected query id, document id and a whole number, "
                    "separated by tabs."
                ) from error


def evaluate_beir(
    folder: Path | str, embedder: Embedder, split: str = "test"
) -> dict[str, np.ndarray]:
    """BM25, dense search, their fusion, and that reranked, on a collection in the BEIR format.

    Whole documents are indexed; a question that is a document too does not find itself.

    Args:
        folder: see ``read_beir``, like ``split``.
        embedder: reads as much of a document as it can; one without token vectors (no
            ``models.Embedder``) cannot rerank.

    Returns:
        For "BM25", "dense", "fused" and "reranked" the nDCG@10 of each question.
    """
    documents, questions = read_beir(folder, split)
    bm25, dense = BM25Retriever(documents), DenseRetriever(documents, embedder)
    fused = FusedRetriever([bm25, dense])
    arms: dict[str, NodeRetriever] = {"BM25": bm25, "dense": dense, "fused": fused}
    if isinstance(embedder, Embedder):
        arms["reranked"] = RerankedRetriever(fused, default_reranker(embedder, documents), depth=20)
    metric = "ndcg_cut_10"
    return {
        name: evaluate_retrieval(arm, questions, [metric])[metric] for name, arm in arms.items()
    }
