"""Build the case data set's files, and the tables of its card, from source/*.yaml.

    python datasets/cases/build.py

writes cases.jsonl, questions.jsonl and the built part of README.md; the same sources give the
same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from course_utils.search.documents import CorpusError

# Beside the data sets' folders, whose scripts are run one by one.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from building import (
    assign_splits,
    checksums,
    read_yaml,
    refresh_card,
    table,
    write_json_lines,
)

HERE = Path(__file__).resolve().parent
FILES = ("cases.jsonl", "questions.jsonl")
SIZES = {"train": 120, "dev": 30, "test": 50}
CASE_FIELDS = (
    *("id", "name", "court", "year", "citation", "topic"),
    *("facts", "holding", "rule", "outcome"),
)
QUESTION_FIELDS = ("id", "question", "case", "outcome", "answer")


def build(out: Path = HERE) -> None:
    """Write the data files.

    Args:
        out: the folder to write into.

    Raises:
        CorpusError: an item of the sources lacks a field, or a question names no case that
            exists.
    """
    sources = read_yaml(HERE / "source")
    cases = [fields(p, c, CASE_FIELDS) for p, written in sources for c in written["cases"]]
    questions = [fields(p, q, QUESTION_FIELDS) for p, w in sources for q in w["questions"]]
    overrules = {
        item["id"]: item["overrules"]
        for _, written in sources
        for item in written["cases"]
        if item.get("overrules")
    }
    overruled_by = {old: new for new, old in overrules.items()}
    for case in cases:
        case["overrules"] = overrules.get(case["id"], "")
        case["overruled_by"] = overruled_by.get(case["id"], "")
    topics = {case["id"]: case["topic"] for case in cases}
    strata = {}
    for question in questions:
        if question["case"] not in {"", *topics}:
            raise CorpusError(f"{question['id']}: there is no case {question['case']!r}.")
        question["answer"] = question["answer"].strip()
        topic = topics.get(question["case"], "")
        strata[question["id"]] = f"{kind(question, set(overrules))} {topic}"
    splits = assign_splits(strata, SIZES)
    write_json_lines(out / "cases.jsonl", cases)
    write_json_lines(
        out / "questions.jsonl",
        [{"id": q["id"], "split": splits[q["id"]]} | q for q in questions],
    )


def fields(path: Path, item: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The named fields of an item, in that order.

    Args:
        path: the item's file, named in errors.
        item: the item as written.
        names: the fields it must have.
    """
    for name in names:
        if name not in item:
            raise CorpusError(
                f"{path}, {item.get('id', 'an item')}: the field {name!r} is missing."
            )
    return {name: item[name] for name in names}


def kind(question: dict[str, Any], overruling: set[str]) -> str:
    """What a question asks of a system: plain, overruled or open.

    Args:
        question: a question.
        overruling: the ids of the cases that overrule another.
    """
    if not question["case"]:
        return "open"
    return "overruled" if question["case"] in overruling else "plain"


def statistics(folder: Path = HERE) -> str:
    """The card's tables: cases by topic, questions by split, and the files' checksums.

    Args:
        folder: where the data files lie.
    """
    cases, questions = ([json.loads(x) for x in (folder / f).open(encoding="utf8")] for f in FILES)
    topics = sorted({case["topic"] for case in cases})
    topic_of = {case["id"]: case["topic"] for case in cases}
    by_topic = [
        _topic_row(
            topic,
            [case for case in cases if case["topic"] == topic],
            [q["split"] for q in questions if topic_of.get(q["case"]) == topic],
        )
        for topic in topics
    ]
    open_splits = [q["split"] for q in questions if not q["case"]]
    by_topic.append(["none decides", 0, 0, "", "", *(open_splits.count(s) for s in SIZES)])
    by_topic.append(_topic_row("all", cases, [q["split"] for q in questions]))
    head = ["topic", "cases", "overruled", "years", "words in a case", *SIZES]
    overruling = {case["id"] for case in cases if case["overrules"]}
    groups = [[q for q in questions if q["split"] == split] for split in SIZES] + [questions]
    rows: list[list[object]] = [["questions", *map(len, groups)]]
    for name in ("plain", "overruled", "open"):
        rows.append([name, *(sum(kind(q, overruling) == name for q in g) for g in groups)])
    for name in ("claimant", "carrier", "none"):
        rows.append([f"outcome {name}", *(sum(q["outcome"] == name for q in g) for g in groups)])
    for name in ("question", "answer"):
        means = [mean(len(q[name].split()) for q in g) for g in groups]
        rows.append([f"mean words in the {name}", *(f"{value:.1f}" for value in means)])
    tables = [table(head, by_topic), table(["", *SIZES, "all"], rows), checksums(folder, FILES)]
    return "\n\n".join(tables)


def _topic_row(name: str, cases: list[dict[str, Any]], splits: list[str]) -> list[object]:
    years = [case["year"] for case in cases]
    words = mean(len(f"{c['facts']} {c['holding']} {c['rule']}".split()) for c in cases)
    return [
        name,
        len(cases),
        sum(bool(case["overruled_by"]) for case in cases),
        f"{min(years)}–{max(years)}",
        f"{words:.0f}",
        *(splits.count(split) for split in SIZES),
    ]


if __name__ == "__main__":
    build()
    refresh_card(HERE / "README.md", statistics())
