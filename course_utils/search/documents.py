"""Documents, questions, and where on a page an answer is; read a folder. Notebook 01."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from llama_index.core import Document
from llama_index.core.schema import BaseNode

from course_utils.files import InputError

SUFFIXES = (".md", ".markdown", ".txt", ".rst")


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


def nodes_by_page(nodes: Iterable[BaseNode]) -> defaultdict[str, list[BaseNode]]:
    """Nodes in lists, by the id of the page that they come from."""
    pages: defaultdict[str, list[BaseNode]] = defaultdict(list)
    for node in nodes:
        pages[page_of(node)].append(node)
    return pages


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
            documents.append(
                make_document(name, text, {"title": path.stem} | header | {"path": name})
            )
    if not documents:
        raise CorpusError(f"{folder} holds no text: put {', '.join(SUFFIXES)} files in it.")
    return documents


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


def make_document(page_id: str, text: str, metadata: dict[str, Any]) -> Document:
    # Only the title helps to find a page by meaning; paths and dates would be noise in a vector.
    hidden = [key for key in metadata if key != "title"]
    return Document(
        id_=page_id,
        text=text,
        metadata=metadata,
        excluded_embed_metadata_keys=hidden,
        excluded_llm_metadata_keys=hidden,
    )


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
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


def required_text(record: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(record.get(key), str):
        raise CorpusError(f"{where}: the field {key!r} is missing or not text.")
    return record[key]
