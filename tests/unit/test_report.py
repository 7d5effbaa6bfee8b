from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from course_utils.generate.citing import Answer
from course_utils.project import questions as questions_module
from course_utils.project import report
from course_utils.project.questions import check_inputs, draft_questions, read_questions
from course_utils.search.documents import CorpusError, read_folder

PAGES = {
    "ports.md": "# Ports\n\nlampd listens on 7204. The <b>second</b> is 7205.",
    "team/owners.txt": "Tobias Renn leads the Lamps team.",
    "team/zebra.txt": "Zebras stand in the meadow behind the depot.",
}
ROWS = """question,page,answer,quote,draft
where does lampd listens?,ports.md,7204,lampd listens on 7204.,
who leads the Lamps team?,owners.txt,Tobias Renn,,draft
what grazes nearby,team/zebra.txt,,,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "docs"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    (tmp_path / "questions.csv").write_text(ROWS)
    return tmp_path / "questions.csv"


@pytest.fixture
def sized(embedder: Any, tokenizer: Any) -> Any:
    embedder.tokenizer = tokenizer
    embedder.get_text_embedding_batch = None
    return embedder


def parrot(texts: Any, found: Any) -> list[Answer]:
    return [Answer("7204" if "lampd" in text else "<nobody>", None) for text in texts]


def pages(folder: Path) -> dict[str, Any]:
    return {page.node_id: page for page in read_folder(folder)}


def test_questions_find_their_pages_and_quotes(folder: Path, questions: Path) -> None:
    first, second, third = read_questions(questions, pages(folder))
    span = first.gold[0]
    assert PAGES["ports.md"][span.start : span.end] == "lampd listens on 7204."
    assert (second.gold[0].page, second.kind, second.answer) == (
        "team/owners.txt",
        "draft",
        "Tobias Renn",
    )
    assert (third.gold[0].start, third.gold[0].end) == (0, len(PAGES["team/zebra.txt"]))


def test_a_file_from_a_spreadsheet_is_read(folder: Path, questions: Path) -> None:
    questions.write_text("\ufeffquestion;page\nwho, then?;ports.md\n", encoding="utf8")
    assert read_questions(questions, pages(folder))[0].text == "who, then?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,answer\na,b\n", "no column 'page'"),
        ("", "no column 'question'"),
        ("question,page\n", "no questions"),
        ("question,page\n ,ports.md\n", "line 2: the question is empty"),
        ("question,page\na,ports.md\nb,port.md\n", "line 3: the page 'port.md' is not in"),
        ("question,page,quote\na,ports.md,lampd listens on 9.\n", "line 2: the quote"),
        ("question,page\na\n", "line 2: the page ''"),
    ],
)
def test_bad_questions_are_told_in_one_sentence(
    folder: Path, questions: Path, text: str, message: str
) -> None:
    questions.write_text(text)
    with pytest.raises(CorpusError, match=re.escape(message)):
        read_questions(questions, pages(folder))


def test_other_bad_input(folder: Path, questions: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="--draft 20"):
        check_inputs(folder, tmp_path / "none.csv", drafting=False)
    with pytest.raises(CorpusError, match="left as it is"):
        check_inputs(folder, questions, drafting=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no text"):
        check_inputs(tmp_path / "empty", questions, drafting=False)
    (folder / "a").mkdir()
    (folder / "a" / "owners.txt").write_text("another")
    with pytest.raises(CorpusError, match="several pages"):
        read_questions(questions, pages(folder))
    questions.write_bytes("question,page\nwäre,ports.md\n".encode("latin1"))
    with pytest.raises(CorpusError, match="not UTF-8"):
        read_questions(questions, pages(folder))


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_report_stands_alone_and_shows_each_page(
    folder: Path, questions: Path, sized: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("course_utils.search.retrieval.embed_nodes", _embed)
    made = report.evaluate_folder(folder, questions, sized, parrot)
    assert [asked.cause for asked in made.asked] == [None, "read wrongly", None]
    assert report.count_causes(made)["right"] == 2 and sum(report.count_causes(made).values()) == 3
    assert all(len(each["recall_5"]) == 3 for each in made.scores.values())
    text = report.report_html(made)
    parser = Links()
    parser.feed(text)
    tags = [tag for tag, _ in parser.found]
    for _, attributes in parser.found:
        for value in (attributes.get("href"), attributes.get("src")):
            assert value is None or value.startswith("data:")
    assert not {"script", "link", "iframe"} & set(tags)
    pictures = [attributes for tag, attributes in parser.found if tag == "img"]
    assert len(pictures) == 2 and all(len(a["alt"] or "") > 20 for a in pictures)
    assert tags.count("details") >= 3 and "<mark>lampd listens on 7204.</mark>" in text
    assert "1 of 3 questions are drafts" in text and "(draft)" in text
    assert "&lt;nobody&gt;" in text and "&lt;b&gt;second" in text


def test_a_checked_report_does_not_warn(
    folder: Path, questions: Path, sized: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("course_utils.search.retrieval.embed_nodes", _embed)
    questions.write_text(ROWS.replace(",draft\n", ",\n"))
    made = report.evaluate_folder(folder, questions, sized)
    assert "draft" not in report.report_html(made).partition("</style>")[2]
    assert all(asked.answer is None for asked in made.asked)


def test_drafts_are_marked_and_read_back(
    folder: Path, tmp_path: Path, sized: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["Sure:\nWhat is there? Because", "no question mark", "Why, then?"]
    monkeypatch.setattr(questions_module, "generate", lambda llm, chats, n: texts[: len(chats)])
    out = tmp_path / "drafts.csv"
    assert draft_questions(folder, out, None, sized, 99) == 3  # type: ignore[arg-type]
    drafted = read_questions(out, pages(folder))
    assert [q.kind for q in drafted] == ["draft"] * 3
    assert {q.gold[0].page for q in drafted} == set(PAGES)
    assert drafted[2].text == "Why, then?"
    with pytest.raises(CorpusError, match="left as it is"):
        draft_questions(folder, out, None, sized, 1)  # type: ignore[arg-type]


def _embed(nodes: Any, embedder: Any) -> Any:
    return embedder.encode([node.get_content("embed") for node in nodes])
