"""Reading documents and questions: the course's data sets, a folder of anybody's, and BEIR.

Everything becomes LlamaIndex ``Document``s and plain ``Question``s, so that the rest of the
pipeline does not know where a page came from.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from llama_index.core import Document
from llama_index.core.schema import BaseNode

from course_utils.files import InputError
from course_utils.formats.cases import COURTS
from course_utils.formats.emails import parse_brief

DATASETS = Path(__file__).resolve().parent.parent / "datasets"
SUFFIXES = (".md", ".markdown", ".txt", ".rst")
T = TypeVar("T")


class CorpusError(InputError):
    """A file of a corpus is missing or malformed; the message names file and line."""


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` (exclusive) of a page's text."""

    page: str
    start: int
    end: int


@dataclass(frozen=True)
class Question:
    """One question with what a good system should find and say.

    ``gold`` are the spans that answer it, ``answer`` and ``accepted`` the right short answers
    (none when it is unanswerable), ``grades`` the relevance of pages: 2 answers, 1 is related.
    """

    id: str
    text: str
    kind: str = "question"
    split: str = "test"
    answer: str = ""
    accepted: tuple[str, ...] = ()
    gold: tuple[Span, ...] = ()
    grades: dict[str, int] = field(default_factory=dict)

    @property
    def answerable(self) -> bool:
        return bool(self.gold)


def page_of(node: BaseNode) -> str:
    """The id of a node's page; a node that comes from no other is a page itself."""
    return node.ref_doc_id or node.node_id


def span_of(node: BaseNode) -> Span:
    """Where a node is in its page; a whole page is all of itself.

    Raises:
        InputError: the node is a part of a page but does not say which.
    """
    if not node.ref_doc_id:
        return Span(node.node_id, 0, len(node.get_content()))
    start, end = getattr(node, "start_char_idx", None), getattr(node, "end_char_idx", None)
    if start is None or end is None:
        raise InputError(
            f"Node {node.node_id!r} has no offsets into its page: chunk with SpanSplitter."
        )
    return Span(node.ref_doc_id, start, end)


# --- the handbook ---------------------------------------------------------------------------------


def load_handbook(week: int = 1) -> list[Document]:
    """The engineering wiki as it stood in a week.

    Args:
        week: 1 or 2. Week 2 is week 1 with its changed and new pages laid over and the removed
            ones taken away.

    Returns:
        Documents sorted by id. ``metadata`` has title, space, owner, updated and path.
    """
    if week not in (1, 2):
        raise CorpusError(f"The handbook has weeks 1 and 2, not {week!r}.")
    folder = DATASETS / "handbook"
    pages = {page.doc_id: page for page in _read_pages(folder / "week1")}
    if week == 2:
        pages |= {page.doc_id: page for page in _read_pages(folder / "week2")}
        for removed in (folder / "week2" / "removed.txt").read_text().split():
            del pages[removed]
    return [pages[page_id] for page_id in sorted(pages)]


def load_questions(
    split: str | None = None, kind: str | None = None, week: int = 1
) -> list[Question]:
    """The handbook's questions.

    Args:
        split: "train", "dev" or "test"; all when None.
        kind: one of the data card's kinds; all when None.
        week: whose answers and spans; they differ for questions of kind "changed".
    """
    folder = DATASETS / "handbook"
    questions = [_question(record, week) for _, record in _json_lines(folder / "questions.jsonl")]
    return [
        question
        for question in questions
        if split in (None, question.split) and kind in (None, question.kind)
    ]


def _question(record: dict[str, Any], week: int) -> Question:
    record = record | (record.get("week2") or {} if week == 2 else {})
    return Question(
        id=record["id"],
        text=record["question"],
        kind=record["kind"],
        split=record["split"],
        answer=record["answer"],
        accepted=tuple(record["accepted"]),
        gold=tuple(Span(span["page"], span["start"], span["end"]) for span in record["gold"]),
        grades=record["grades"],
    )


def _read_pages(folder: Path) -> Iterator[Document]:
    for path in sorted(folder.rglob("*.md")):
        header, text = split_front_matter(path.read_text(encoding="utf8"), path)
        yield _document(header["id"], text, header | {"path": str(path.relative_to(DATASETS))})


def split_front_matter(text: str, path: Path) -> tuple[dict[str, Any], str]:
    """Split a Markdown page into its YAML header and its body.

    Args:
        text: the file's text.
        path: only named in errors.

    Returns:
        The header ({} when there is none) and the body without leading blank lines.
    """
    if not text.startswith("---\n"):
        return {}, text.lstrip("\n")
    header, mark, body = text[4:].partition("\n---\n")
    if not mark:
        raise CorpusError(
            f"{path}, line 1: the front matter is opened with '---' and never closed."
        )
    try:
        values = yaml.safe_load(header)
    except yaml.YAMLError as error:
        line = getattr(error, "problem_mark", None)
        raise CorpusError(
            f"{path}, line {line.line + 2 if line else 1}: the front matter is not valid YAML."
        ) from error
    if not isinstance(values, dict):
        raise CorpusError(f"{path}, line 2: the front matter must be 'key: value' lines.")
    return {key: str(value) for key, value in values.items()}, body.lstrip("\n")


def _document(page_id: str, text: str, metadata: dict[str, Any]) -> Document:
    # Only the title helps to find a page by meaning; paths and dates would be noise in a vector.
    hidden = [key for key in metadata if key != "title"]
    return Document(
        id_=page_id,
        text=text,
        metadata=metadata,
        excluded_embed_metadata_keys=hidden,
        excluded_llm_metadata_keys=hidden,
    )


# --- anybody's documents --------------------------------------------------------------------------


def read_folder(folder: Path | str) -> list[Document]:
    """Read every Markdown and text file below a folder.

    Args:
        folder: where to look, sub-folders included.

    Returns:
        Documents sorted by id, which is the path below ``folder``; blank files are left out.

    Raises:
        CorpusError: no such folder, nothing readable in it, or a file that is not UTF-8 text.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CorpusError(f"There is no folder {folder}.")
    documents = []
    for path in sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()
    ):
        try:
            raw = path.read_text(encoding="utf8")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path} is not UTF-8 text (byte {error.start}); convert or remove it."
            ) from error
        header, text = split_front_matter(raw, path)
        if text.strip():
            name = path.relative_to(folder).as_posix()
            documents.append(_document(name, text, {"title": path.stem} | header | {"path": name}))
    if not documents:
        raise CorpusError(f"{folder} holds no text: put {', '.join(SUFFIXES)} files in it.")
    return documents


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
    for where, record in _json_lines(folder / "corpus.jsonl"):
        page_id, text = _required(record, "_id", where), _required(record, "text", where)
        document = _document(page_id, text, {"title": record.get("title", "")})
        # What published numbers embed: title, space, text.
        document.metadata_template, document.text_template = "{value}", "{metadata_str} {content}"
        documents.append(document)
    queries = {
        _required(record, "_id", where): _required(record, "text", where)
        for where, record in _json_lines(folder / "queries.jsonl")
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


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, record) for each line; the place is for error messages."""
    if not path.is_file():
        raise CorpusError(f"{path} is missing.")
    with path.open(encoding="utf8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(
                    f"{path}, line {number}: not valid JSON ({error.msg})."
                ) from error
            if not isinstance(record, dict):
                raise CorpusError(f"{path}, line {number}: expected a JSON object.")
            yield f"{path}, line {number}", record


def _required(record: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(record.get(key), str):
        raise CorpusError(f"{where}: the field {key!r} is missing or not text.")
    return record[key]


# --- e-mails, tickets, cases ----------------------------------------------------------------------


@dataclass(frozen=True)
class EmailBrief:
    """A brief, the facts that a faithful e-mail must carry, and the approved e-mail.

    ``brief`` is the text that a model sees, ``fields`` the same taken apart (customer, order,
    facts, next, agent). ``email`` is empty in held-out briefs.
    """

    id: str
    situation: str
    brief: str
    fields: dict[str, str]
    must: tuple[str, ...]
    email: str = ""


@dataclass(frozen=True)
class Ticket:
    """A customer's message and the ticket it becomes; ``jargon`` when faults need the notation."""

    id: str
    split: str
    message: str
    ticket: dict[str, Any]
    jargon: bool


@dataclass(frozen=True)
class Case:
    """A decided case; ``overrules`` and ``overruled_by`` are ids of cases, or empty."""

    id: str
    name: str
    court: str
    year: int
    citation: str
    topic: str
    facts: str
    holding: str
    rule: str
    outcome: str
    overrules: str = ""
    overruled_by: str = ""


@dataclass(frozen=True)
class CaseQuestion:
    """A legal question; ``case`` is the id of the controlling case, empty when none decides it.

    ``outcome`` is claimant, carrier or none; ``answer`` has the four lines of the house form.
    """

    id: str
    split: str
    question: str
    case: str
    outcome: str
    answer: str


def load_emails(held_out: bool = False) -> list[EmailBrief]:
    """The approved e-mails with their briefs, or the held-out briefs.

    Args:
        held_out: the 100 briefs without an e-mail instead of the 500 with one.
    """
    name = "held_out.jsonl" if held_out else "approved.jsonl"
    return [
        _typed(
            EmailBrief,
            record
            | {
                "fields": parse_brief(_required(record, "brief", where)),
                "must": tuple(record.get("must", ())),
            },
            where,
        )
        for where, record in _json_lines(DATASETS / "emails" / name)
    ]


def load_tickets(split: str | None = None) -> list[Ticket]:
    """The customers' messages with their tickets.

    Args:
        split: "train", "dev" or "test"; all when None.
    """
    lines = _json_lines(DATASETS / "tickets" / "tickets.jsonl")
    tickets = [_typed(Ticket, record, where) for where, record in lines]
    return [ticket for ticket in tickets if split in (None, ticket.split)]


def load_cases() -> list[Case]:
    """The case summaries of the Straits, overruled ones included."""
    lines = _json_lines(DATASETS / "cases" / "cases.jsonl")
    return [_typed(Case, record, where) for where, record in lines]


def case_documents() -> list[Document]:
    """The cases as Markdown pages, as a search would index them.

    A page does not say that its case was overruled later: as in a real law report, only the
    later case says so.
    """
    return [
        _document(
            case.id,
            f"# {case.name} {case.citation}\n\n{COURTS[case.court]}, {case.year}\n\n"
            f"## Facts\n\n{case.facts}\n\n## Holding\n\n{case.holding}\n\n## Rule\n\n{case.rule}\n",
            {
                "title": f"{case.name} {case.citation}",
                "court": case.court,
                "year": case.year,
                "topic": case.topic,
            },
        )
        for case in load_cases()
    ]


def load_case_questions(split: str | None = None) -> list[CaseQuestion]:
    """The questions on the cases.

    Args:
        split: "train", "dev" or "test"; all when None.
    """
    lines = _json_lines(DATASETS / "cases" / "questions.jsonl")
    questions = [_typed(CaseQuestion, record, where) for where, record in lines]
    return [question for question in questions if split in (None, question.split)]


def _typed(kind: type[T], record: dict[str, Any], where: str) -> T:
    try:
        return kind(**record)
    except TypeError as error:
        raise CorpusError(f"{where}: the fields are not those of {kind.__name__}.") from error
