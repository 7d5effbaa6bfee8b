"""Evaluate your own documents: a folder and a CSV in, one HTML page out. Notebook 05."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from IPython.display import Image
from llama_index.core import Document
from llama_index.core.schema import NodeWithScore

from course_utils.evaluate.correctness import CAUSES, cause
from course_utils.evaluate.intervals import estimate
from course_utils.evaluate.metrics import page_run, retrieval_scores
from course_utils.files import write_text
from course_utils.generate.citing import Answer
from course_utils.generate.reading import Reader
from course_utils.lab import plots
from course_utils.models.embedding import Embedder
from course_utils.models.weights import release_memory
from course_utils.project.questions import CHUNK_TOKENS, read_questions
from course_utils.search.chunking import chunk_documents
from course_utils.search.documents import Question, Span, page_of, read_folder
from course_utils.search.fusion import FusedRetriever
from course_utils.search.retrieval import BM25Retriever, DenseRetriever

METRICS = {"recall_5": "recall@5", "recip_rank": "MRR", "ndcg_cut_10": "nDCG@10"}
CANDIDATES, SHOWN = 50, 3


@dataclass(frozen=True)
class Asked:
    """One question, what was found and said, and the step that failed (None when all went well)."""

    question: Question
    hits: list[NodeWithScore]
    answer: Answer | None
    cause: str | None


@dataclass(frozen=True)
class FolderReport:
    """Scores by retriever and metric, one number a question, and what became of each question."""

    name: str
    pages: dict[str, Document]
    scores: dict[str, dict[str, np.ndarray]]
    asked: list[Asked]


def evaluate_folder(
    folder: Path | str, questions: Path | str, embedder: Embedder, reader: Reader | None = None
) -> FolderReport:
    """Search a folder for the questions of a CSV, by words, by meaning and by both, and score it.

    Args:
        folder: Markdown and text files.
        questions: see ``read_questions``.
        embedder: sizes and embeds the chunks.
        reader: answers, from the first chunks of the fusion, the questions that have an answer.
    """
    pages = {page.node_id: page for page in read_folder(folder)}
    asked = read_questions(questions, pages)
    nodes = chunk_documents(list(pages.values()), embedder.tokenizer, CHUNK_TOKENS)
    words, meaning = BM25Retriever(nodes), DenseRetriever(nodes, embedder)
    arms = {"BM25": words, "dense": meaning, "fused": FusedRetriever([words, meaning], k=10)}
    found = {name: arm.search([q.text for q in asked], 100) for name, arm in arms.items()}
    scores = {}
    for name, lists in found.items():
        runs = {q.id: page_run(hits) for q, hits in zip(asked, lists, strict=True)}
        scores[name] = retrieval_scores(runs, asked, list(METRICS))
    fused = [hits[:CANDIDATES] for hits in found["fused"]]
    release_memory()
    said: dict[str, Answer] = {}
    if reader:
        pairs = [(q, hits) for q, hits in zip(asked, fused, strict=True) if q.answer]
        answers = reader([q.text for q, _ in pairs], [hits[:SHOWN] for _, hits in pairs])
        said = {q.id: answer for (q, _), answer in zip(pairs, answers, strict=True)}
    rows = [
        Asked(q, hits, said.get(q.id), _cause(said.get(q.id), q, hits))
        for q, hits in zip(asked, fused, strict=True)
    ]
    return FolderReport(Path(folder).expanduser().resolve().name, pages, scores, rows)


def _cause(answer: Answer | None, question: Question, hits: list[NodeWithScore]) -> str | None:
    if answer:
        return cause(answer, question, hits, SHOWN)
    places = [n for n, hit in enumerate(hits) if page_of(hit.node) == question.gold[0].page]
    if not places:
        return "not retrieved"
    return None if places[0] < SHOWN else "not ranked in"


PAGE_STYLE = """body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem;border:1px solid #ccc;text-align:left}
img{max-width:100%}pre{white-space:pre-wrap;background:#f5f5f5;padding:.5rem;font-size:.85rem}
.q{border-top:1px solid #ccc;padding:.5rem 0}mark{font-weight:bold}
@media print{body{max-width:none}.q{break-inside:avoid}details:not([open]){display:none}}"""


def report_html(report: FolderReport) -> str:
    """A report as one HTML page that needs nothing else: figures inside, pages a click away."""
    name, n = html.escape(report.name), len(report.asked)
    drafts = sum(asked.question.kind == "draft" for asked in report.asked)
    heads = "".join(f"<th>{metric}</th>" for metric in METRICS.values())
    table = "".join(
        f"<tr><th>{arm}</th>" + "".join(f"<td>{estimate(each[m])}</td>" for m in METRICS) + "</tr>"
        for arm, each in report.scores.items()
    )
    bars = {f"nDCG@10, {arm}": estimate(s["ndcg_cut_10"]) for arm, s in report.scores.items()}
    bars |= {f"recall@5, {arm}": estimate(s["recall_5"]) for arm, s in report.scores.items()}
    told = ", ".join(f"{label} {made}" for label, made in bars.items())
    counts = count_causes(report)
    parts = ", ".join(f"{part}: {count}" for part, count in counts.items())
    warned = (
        f"<p><b>{drafts} of {n} questions are drafts</b> that a model wrote and nobody checked. "
        "Read them, edit them, and empty their column <i>draft</i>; until then these numbers say "
        "how well the search finds what a model asked.</p>"
    )
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{name}</title>"
        f"<style>{PAGE_STYLE}</style></head><body><h1>How well is {name} searched?</h1>"
        f"<p>{len(report.pages)} pages, {n} questions. 95 % intervals in brackets.</p>"
        f"{warned if drafts else ''}<h2>Retrieval</h2>"
        f"<table><tr><th></th>{heads}</tr>{table}</table>"
        f"{_figure(plots.bars(bars, f'95 % intervals (n = {n})', f'Bars: {told}.'))}"
        f"<h2>Where it goes wrong</h2><p>The reader gets the first {SHOWN} chunks of the fusion; "
        f"candidates are its first {CANDIDATES}. Questions without an answer are judged by "
        "whether their page is found.</p>"
        f"{_figure(plots.stacked({'questions': counts}, 'questions', f'Bar: {parts}.'))}"
        f"<h2>Question by question</h2>{''.join(_entry(a, report.pages) for a in report.asked)}"
        "</body></html>"
    )


def write_report(report: FolderReport, path: Path | str) -> None:
    """Write a report's page, completely or not at all."""
    write_text(Path(path).expanduser(), report_html(report))


def count_causes(report: FolderReport) -> dict[str, int]:
    """How many questions went right, and how many wrong by each cause."""
    causes = [asked.cause or "right" for asked in report.asked]
    return {part: causes.count(part) for part in ("right", *CAUSES)}


def _figure(picture: Image) -> str:
    data = base64.b64encode(picture.data).decode()
    return f"<p><img src='data:image/png;base64,{data}' alt='{html.escape(picture.alt)}'></p>"


def _entry(asked: Asked, pages: Mapping[str, Document]) -> str:
    question, gold = asked.question, asked.question.gold[0]
    mark = " <i>(draft)</i>" if question.kind == "draft" else ""
    said = f"<br>Said: {html.escape(asked.answer.text) or '(refused)'}" if asked.answer else ""
    right = f"<br>Right: {html.escape(question.answer)}" if question.answer else ""
    first = page_of(asked.hits[0].node) if asked.hits else None
    shown = [page for page in dict.fromkeys((gold.page, first)) if page]
    views = "".join(
        f"<details><summary>{'The page' if page == gold.page else 'Found first'}: "
        f"{html.escape(page)}</summary><pre>{_marked(pages[page].text, gold, page)}</pre></details>"
        for page in shown
    )
    return (
        f"<div class='q'><b>{asked.cause or 'right'}</b>: "
        f"{html.escape(question.text)}{mark}{said}{right}{views}</div>"
    )


def _marked(text: str, gold: Span, page: str) -> str:
    if page != gold.page or gold.end - gold.start == len(text):
        return html.escape(text)
    before, quote, after = text[: gold.start], text[gold.start : gold.end], text[gold.end :]
    return f"{html.escape(before)}<mark>{html.escape(quote)}</mark>{html.escape(after)}"
