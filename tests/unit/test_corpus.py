from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_utils.project.beir import read_beir
from course_utils.search.documents import CorpusError, read_folder, split_front_matter
from course_utils.tasks.handbook import load_handbook


def write_beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    pages = [{"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "text": "second"}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, pages)) + "\n")
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "which?"}\n{"_id": "q2", "text": "?"}\n'
    )
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t1\n")
    return folder


def test_beir_is_read(tmp_path: Path) -> None:
    documents, questions = read_beir(write_beir(tmp_path / "beir"))
    assert [d.node_id for d in documents] == ["d1", "d2"]
    assert documents[0].metadata["title"] == "One"
    assert [(q.id, q.text, q.grades) for q in questions] == [("q1", "which?", {"d1": 2, "d2": 1})]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "corpus.jsonl",
            '{"_id": "d1", "text": "x"}\n{"_id":\n',
            "corpus.jsonl, line 2: not valid JSON",
        ),
        ("corpus.jsonl", '{"_id": "d1"}\n', "line 1: the field 'text' is missing"),
        ("corpus.jsonl", "[1]\n", "line 1: expected a JSON object"),
        (
            "queries.jsonl",
            '{"_id": 7, "text": "x"}\n',
            "line 1: the field '_id' is missing or not text",
        ),
        ("qrels/test.tsv", "q1\td1\tmuch\n", "test.tsv, line 1: expected query id"),
        ("qrels/test.tsv", "q1 d1 1\n", "test.tsv, line 1: expected query id"),
        ("qrels/test.tsv", "q9\td1\t1\n", "query 'q9' is judged but not in queries.jsonl"),
    ],
)
def test_a_bad_beir_file_is_named_with_its_line(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    folder = write_beir(tmp_path / "beir")
    (folder / file).write_text(text)
    with pytest.raises(CorpusError) as error:
        read_beir(folder)
    assert message in str(error.value)


def test_a_missing_beir_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus\.jsonl is missing"):
        read_beir(tmp_path)


def test_a_folder_is_read_with_its_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("plain")
    (tmp_path / "sub" / "a.md").write_text("---\ntitle: A page\n---\n\n# A\n")
    (tmp_path / "blank.md").write_text(" \n")
    (tmp_path / "picture.png").write_bytes(b"\xff")
    documents = read_folder(tmp_path)
    assert [(d.node_id, d.metadata["title"]) for d in documents] == [
        ("b.txt", "b"),
        ("sub/a.md", "A page"),
    ]
    assert documents[1].text == "# A\n"


def test_a_bad_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="holds no text"):
        read_folder(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(CorpusError, match=r"a\.txt is not UTF-8"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\ntitle: x\n", "line 1: the front matter is opened"),
        ("---\ntitle: x\nowner: [\n---\n", "line 3: the front matter is not valid YAML"),
        ("---\njust words\n---\n", "line 2: the front matter must be"),
    ],
)
def test_bad_front_matter_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(CorpusError) as error:
        split_front_matter(text, Path("page.md"))
    assert message in str(error.value)


def test_the_handbook_has_two_weeks() -> None:
    with pytest.raises(CorpusError, match="weeks 1 and 2"):
        load_handbook(week=3)
