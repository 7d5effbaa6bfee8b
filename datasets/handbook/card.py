"""Write the tables of the handbook's data card: sizes, word overlap, difficulty and checksums.

    python datasets/handbook/card.py

counts the files that build.py made and searches them with BM25 and with the course's embedder
(half a minute when its vectors are cached, a minute or two the first time). Numbers are rounded
to two decimals, so that another processor gives the same card.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import mean, median

import bm25s
import numpy as np
import Stemmer
import yaml

from course_utils.evaluate.intervals import paired_difference
from course_utils.evaluate.metrics import page_run, retrieval_scores
from course_utils.models.embedding import load_embedder
from course_utils.search.chunking import SpanSplitter, packed_blocks
from course_utils.search.documents import Question
from course_utils.search.retrieval import DenseRetriever
from course_utils.tasks.handbook import load_handbook, load_questions

# Beside the data sets' folders, whose scripts are run one by one.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from building import checksums, refresh_card, table

HERE = Path(__file__).resolve().parent
FILES = ("questions.jsonl", "week1/manifest.json", "week2/manifest.json")
SPLITS = ("train", "dev", "test")
NODE_TOKENS = 192
NODES_FOUND = 200  # no page has 20 nodes, so these belong to more than 10 pages
Runs = dict[str, dict[str, float]]


# --- sizes ----------------------------------------------------------------------------------------


def page_sizes() -> str:
    """Pages of week 1 by space and origin, and their words."""
    rendered = {page for page, entry in manifest(1).items() if entry["source"] == "rendered"}
    sizes: dict[str, dict[str, int]] = {}
    for page in load_handbook():
        sizes.setdefault(page.metadata["space"], {})[page.node_id] = len(page.text.split())

    def row(name: str, words: dict[str, int]) -> list[object]:
        drawn, counts = len(rendered & set(words)), list(words.values())
        spread = (min(counts), f"{median(counts):.0f}", f"{mean(counts):.0f}", max(counts))
        return [name, len(words) - drawn, drawn, *spread]

    rows = [row(space, sizes[space]) for space in sorted(sizes)]
    every = {page: n for words in sizes.values() for page, n in words.items()}
    parts = {
        "all written": {page: n for page, n in every.items() if page not in rendered},
        "all rendered": {page: n for page, n in every.items() if page in rendered},
        "all": every,
    }
    head = ["space", "written", "rendered", "fewest words", "median", "mean", "most words"]
    return table(head, rows + [row(name, words) for name, words in parts.items()])


def week2_sizes() -> str:
    """What is different in week 2."""
    files = sorted((HERE / "edits").glob("*.yaml"))
    edits = [edit for path in files for edit in yaml.safe_load(path.read_text(encoding="utf8"))]
    before, after = set(manifest(1)), set(manifest(2))
    rows = [
        ["changed facts (edits)", len(edits)],
        ["changed pages", len(before & after)],
        ["new pages", len(after - before)],
        ["removed pages", len((HERE / "week2" / "removed.txt").read_text().split())],
        ["pages in week 2", len(load_handbook(2))],
    ]
    return table(["week 2", "number"], rows)


def manifest(week: int) -> dict[str, dict[str, str]]:
    """Page id to its source and checksum, of the files in a week's folder."""
    path = HERE / f"week{week}" / "manifest.json"
    return json.loads(path.read_text(encoding="utf8"))


def question_sizes() -> str:
    """Questions by kind and split, with their grades and the words they share with the answer."""

    def row(name: str, questions: list[Question]) -> list[object]:
        splits = Counter(question.split for question in questions)
        graded = [question for question in questions if question.grades]
        grades = [Counter(question.grades.values()) for question in graded]
        return [
            name,
            *(splits[split] for split in SPLITS),
            len(questions),
            f"{mean(len(question.text.split()) for question in questions):.1f}",
            *(f"{mean(c[g] for c in grades):.2f}" if graded else "" for g in (2, 1)),
            f"{mean(overlap(question) for question in graded):.2f}" if graded else "",
        ]

    rows = [row(kind, load_questions(kind=kind)) for kind in kinds()]
    head = ["kind", *SPLITS, "all", "words", "pages of grade 2", "pages of grade 1", "overlap"]
    return table(head, [*rows, row("all", load_questions())])


def kinds() -> list[str]:
    """The kinds of questions, by name."""
    return sorted({question.kind for question in load_questions()})


# --- words ----------------------------------------------------------------------------------------


def content_words(texts: list[str]) -> list[list[str]]:
    """The words of texts without English stop words, reduced to their stems."""
    return bm25s.tokenize(
        texts,
        stopwords="en",
        stemmer=Stemmer.Stemmer("english"),
        return_ids=False,
        show_progress=False,
    )


def overlap(question: Question) -> float:
    """The share of a question's content words that stand in its gold spans."""
    spans = " ".join(pages()[span.page][span.start : span.end] for span in question.gold)
    asked, said = (set(words) for words in content_words([question.text, spans]))
    return len(asked & said) / len(asked)


@cache
def pages() -> dict[str, str]:
    return {page.node_id: page.text for page in load_handbook()}


# --- difficulty -----------------------------------------------------------------------------------


def bm25_runs(questions: list[Question]) -> Runs:
    """Whole pages, title and text, ranked by BM25."""
    documents = load_handbook()
    index = bm25s.BM25(k1=1.5, b=0.75)
    texts = [f"{page.metadata['title']}\n{page.text}" for page in documents]
    index.index(content_words(texts), show_progress=False)
    runs: Runs = {}
    for question, words in zip(
        questions, content_words([question.text for question in questions]), strict=True
    ):
        scores = index.get_scores(words)
        runs[question.id] = {
            page.node_id: float(score)
            for page, score in zip(documents, scores, strict=True)
            if score > 0
        }
    return runs


def dense_runs(questions: list[Question]) -> Runs:
    """Pages ranked by their node nearest to the question, by the course's embedder."""
    embedder = load_embedder()
    nodes = SpanSplitter(packed_blocks(embedder.tokenizer, NODE_TOKENS))(load_handbook())
    found = DenseRetriever(nodes, embedder).search([q.text for q in questions], NODES_FOUND)
    return {question.id: page_run(hits) for question, hits in zip(questions, found, strict=True)}


@cache
def ndcg() -> tuple[list[Question], np.ndarray, np.ndarray]:
    """The stress questions with an answer, and the nDCG@10 of each by BM25 and by MiniLM."""
    questions = [q for q in load_questions(kind="stress") if q.answerable]
    bm25, dense = (
        retrieval_scores(runs(questions), questions, ["ndcg_cut_10"])["ndcg_cut_10"]
        for runs in (bm25_runs, dense_runs)
    )
    return questions, bm25, dense


def difficulty(split: str | None = None) -> str:
    """Mean nDCG@10 by kind, and the difference with its 95 % interval.

    Args:
        split: "test", for instance; the questions of all splits when None.
    """
    questions, bm25, dense = ndcg()
    here = np.array([split in (None, question.split) for question in questions])
    kind_of = np.array([question.kind for question in questions])

    def row(name: str, chosen: np.ndarray) -> list[object]:
        d = paired_difference(dense[chosen], bm25[chosen])
        numbers = [f"{scores[chosen].mean():.2f}" for scores in (bm25, dense)]
        return [name, d.n, *numbers, f"{d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"]

    rows = [row(kind, here & (kind_of == kind)) for kind in sorted(set(kind_of))]
    head = [f"nDCG@10, {split or 'all splits'}", "questions", "BM25", "MiniLM", "MiniLM − BM25"]
    return table(head, [*rows, row("all", here)])


# --- the card -------------------------------------------------------------------------------------


def tables() -> list[str]:
    """The tables of the card, in its order."""
    return [
        page_sizes(),
        week2_sizes(),
        question_sizes(),
        difficulty("test"),
        difficulty(),
        checksums(HERE, FILES),
    ]


if __name__ == "__main__":
    refresh_card(HERE / "README.md", "\n\n".join(tables()))
