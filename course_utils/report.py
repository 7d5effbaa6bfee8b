"""The course's evaluation for anybody's documents: a folder and a CSV in, one HTML page out."""

from __future__ import annotations

import base64
import csv
import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from IPython.display import Image
from llama_index.core import Document
from llama_index.core.schema import NodeWithScore

from course_utils import plots
from course_utils.chunking import SpanSplitter, packed_blocks
from course_utils.corpus import CorpusError, Question, Span, page_of, read_folder
from course_utils.evaluation import CAUSES, cause, estimate, page_run, retrieval_scores
from course_utils.generation import Answer, Reader, generate
from course_utils.models import Embedder, Endpoint, LanguageModel, release_memory
from course_utils.retrieval import BM25Retriever, DenseRetriever, FusedRetriever

COLUMNS = ("question", "page", "answer", "quote", "draft")
METRICS = {"recall_5": "recall@5", "recip_rank": "MRR", "ndcg_cut_10": "nDCG@10"}
CANDIDATES, SHOWN, CHUNK_TOKENS = 50, 3, 96


@dataclass(frozen=True)
class Asked:
    """One question, what was found and said, and the step that failed (None when all went well)."""

    question: Question
    found: list[NodeWithScore]
    answer: Answer | None
    cause: str | None


@dataclass(frozen=True)
class Report:
    """Scores by retriever and metric, one number a question, and what became of each question."""

    name: str
    pages: dict[str, Document]
    scores: dict[str, dict[str, np.ndarray]]
    asked: list[Asked]


# --- questions ------------------------------------------------------------------------------------


def read_questions(path: Path | str, pages: Mapping[str, Document]) -> list[Question]:
    """Read a CSV with the columns question and page, and perhaps answer, quote and draft.

    Args:
        path: the file; commas or semicolons separate its columns.
        pages: by id, which is the file's path; its bare name will do where only one has it.

    Returns:
        Questions; gold is the quote's place on the page, or the whole page without a quote. The
        kind of one that is still marked in the column draft is "draft".

    Raises:
        CorpusError: no such file, a missing column, an empty question, an unknown page, or a
            quote that is not on its page.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CorpusError(f"There is no file {path}; write one with the columns question and page.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text; save it as CSV UTF-8.") from error
    comma = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    rows = csv.DictReader(lines, delimiter=comma)
    for column in COLUMNS[:2]:
        if column not in (rows.fieldnames or ()):
            raise CorpusError(f"{path} has no column {column!r}; name it in the first line.")
    questions: list[Question] = []
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        text, quote = (row.get("question") or "").strip(), (row.get("quote") or "").strip()
        if not text:
            raise CorpusError(f"{where}: the question is empty.")
        page = _page((row["page"] or "").strip(), pages, where)
        start = page.text.find(quote)
        if start < 0:
            raise CorpusError(f"{where}: the quote does not stand on {page.node_id} like that.")
        questions.append(
            Question(
                id=str(len(questions) + 1),
                text=text,
                kind="draft" if (row.get("draft") or "").strip() else "question",
                answer=(row.get("answer") or "").strip(),
                gold=(Span(page.node_id, start, start + len(quote or page.text)),),
                grades={page.node_id: 2},
            )
        )
    if not questions:
        raise CorpusError(f"{path} holds no questions below its first line.")
    return questions


def check(folder: Path | str, questions: Path | str, drafting: bool) -> None:
    """Raise what is wrong with the arguments before any model is loaded."""
    pages = {page.node_id: page for page in read_folder(folder)}
    path = Path(questions).expanduser()
    if not drafting and not path.is_file():
        raise CorpusError(
            f"There is no questions file {path}: write one with the columns question and page, or "
            f"let `course evaluate {folder} --questions {path} --draft 20` write drafts to mend."
        )
    if drafting and path.exists():
        raise CorpusError(f"{path} exists and is left as it is; name another for the drafts.")
    if not drafting:
        read_questions(path, pages)


def _page(name: str, pages: Mapping[str, Document], where: str) -> Document:
    if name in pages:
        return pages[name]
    same = [page for page in pages.values() if Path(page.node_id).name == name]
    if len(same) != 1:
        why = "is the name of several pages; give its path" if same else "is not in the folder"
        raise CorpusError(f"{where}: the page {name!r} {why}.")
    return same[0]


def draft_questions(
    folder: Path | str, out: Path | str, llm: LanguageModel | Endpoint, embedder: Embedder, n: int
) -> int:
    """Let a generator write one question each for up to n pages, every one marked as a draft.

    Args:
        folder: the documents.
        out: the CSV to write; one that exists is left alone.
        llm: who writes, from one chunk of the page.
        embedder: its tokens size the chunks.
        n: how many pages, spread evenly over the folder.

    Returns:
        How many questions were written.
    """
    check(folder, out, drafting=True)
    documents = read_folder(folder)
    splitter = SpanSplitter(packed_blocks(embedder.tokenizer, CHUNK_TOKENS))
    places = np.linspace(0, len(documents) - 1, min(max(n, 1), len(documents))).astype(int)
    parts = [splitter.get_nodes_from_documents([documents[at]]) for at in places]
    chunks = [max(nodes, key=lambda node: len(node.get_content())) for nodes in parts]
    ask = "Write one short question that this text answers."
    chats = [[{"role": "user", "content": f"{c.get_content().strip()}\n\n{ask}"}] for c in chunks]
    written = [text.partition("?")[0].split("\n")[-1] + "?" for text in generate(llm, chats, 32)]
    with Path(out).expanduser().open("w", encoding="utf8", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for text, chunk in zip(written, chunks, strict=True):
            quote = chunk.get_content().strip()
            rows.writerow(
                {"question": text, "page": page_of(chunk), "quote": quote, "draft": "draft"}
            )
    return len(written)


# --- measuring ------------------------------------------------------------------------------------


def evaluate_folder(
    folder: Path | str, questions: Path | str, embedder: Embedder, reader: Reader | None = None
) -> Report:
    """Search a folder for the questions of a CSV, by words, by meaning and by both, and score it.

    Args:
        folder: Markdown and text files.
        questions: see ``read_questions``.
        embedder: sizes and embeds the chunks.
        reader: answers, from the first chunks of the fusion, the questions that have an answer.
    """
    pages = {page.node_id: page for page in read_folder(folder)}
    asked = read_questions(questions, pages)
    splitter = SpanSplitter(packed_blocks(embedder.tokenizer, CHUNK_TOKENS))
    nodes = splitter.get_nodes_from_documents(list(pages.values()))
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
    return Report(Path(folder).expanduser().resolve().name, pages, scores, rows)


def _cause(answer: Answer | None, question: Question, found: list[NodeWithScore]) -> str | None:
    if answer:
        return cause(answer, question, found, SHOWN)
    places = [n for n, hit in enumerate(found) if page_of(hit.node) == question.gold[0].page]
    if not places:
        return "not retrieved"
    return None if places[0] < SHOWN else "not ranked in"


# --- the page -------------------------------------------------------------------------------------

STYLE = """body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem;border:1px solid #ccc;text-align:left}
img{max-width:100%}pre{white-space:pre-wrap;background:#f5f5f5;padding:.5rem;font-size:.85rem}
.q{border-top:1px solid #ccc;padding:.5rem 0}mark{font-weight:bold}
@media print{body{max-width:none}.q{break-inside:avoid}details:not([open]){display:none}}"""


def to_html(report: Report) -> str:
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
    counts = blame(report)
    parts = ", ".join(f"{part}: {count}" for part, count in counts.items())
    warned = (
        f"<p><b>{drafts} of {n} questions are drafts</b> that a model wrote and nobody checked. "
        "Read them, mend them, and empty their column <i>draft</i>; until then these numbers say "
        "how well the search finds what a model asked.</p>"
    )
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{name}</title>"
        f"<style>{STYLE}</style></head><body><h1>How well is {name} searched?</h1>"
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


def blame(report: Report) -> dict[str, int]:
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
    first = page_of(asked.found[0].node) if asked.found else None
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
