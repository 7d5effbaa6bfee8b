"""A user's questions on their own documents: read a CSV, or draft one. Notebook 05."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from llama_index.core import Document

from course_utils.files import replacing
from course_utils.generate.decoding import generate
from course_utils.models.embedding import Embedder
from course_utils.models.generator import Endpoint, LanguageModel
from course_utils.search.chunking import chunk_documents
from course_utils.search.documents import CorpusError, Question, Span, page_of, read_folder

CHUNK_TOKENS = 96
COLUMNS = ("question", "page", "answer", "quote", "draft")


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
        page = find_page((row["page"] or "").strip(), pages, where)
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


def check_inputs(folder: Path | str, questions: Path | str, drafting: bool) -> None:
    """Raise what is wrong with the arguments before any model is loaded."""
    pages = {page.node_id: page for page in read_folder(folder)}
    path = Path(questions).expanduser()
    if not drafting and not path.is_file():
        raise CorpusError(
            f"There is no questions file {path}: write one with the columns question and page, or "
            f"let `course evaluate {folder} --questions {path} --draft 20` write drafts to edit."
        )
    if drafting and path.exists():
        raise CorpusError(f"{path} exists and is left as it is; name another for the drafts.")
    if not drafting:
        read_questions(path, pages)


def find_page(name: str, pages: Mapping[str, Document], where: str) -> Document:
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
    check_inputs(folder, out, drafting=True)
    documents = read_folder(folder)
    places = np.linspace(0, len(documents) - 1, min(max(n, 1), len(documents))).astype(int)
    parts = [chunk_documents([documents[at]], embedder.tokenizer, CHUNK_TOKENS) for at in places]
    chunks = [max(nodes, key=lambda node: len(node.get_content())) for nodes in parts]
    ask = "Write one short question that this text answers."
    chats = [[{"role": "user", "content": f"{c.get_content().strip()}\n\n{ask}"}] for c in chunks]
    written = [text.partition("?")[0].split("\n")[-1] + "?" for text in generate(llm, chats, 32)]
    with (
        replacing(Path(out).expanduser()) as partial,
        partial.open("w", encoding="utf8", newline="") as file,
    ):
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for text, chunk in zip(written, chunks, strict=True):
            quote = chunk.get_content().strip()
            rows.writerow(
                {"question": text, "page": page_of(chunk), "quote": quote, "draft": "draft"}
            )
    return len(written)
