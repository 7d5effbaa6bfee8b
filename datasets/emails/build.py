"""Build the e-mail data set's files, and the tables of its card, from source/*.yaml.

    python datasets/emails/build.py

writes approved.jsonl, held_out.jsonl and the built part of README.md; the same sources give the
same bytes.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

from course_utils.search.documents import CorpusError
from course_utils.tasks.email_rules import email_sentences, parse_email

# Beside the data sets' folders, whose scripts are run one by one.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from building import checksums, read_yaml, refresh_card, table, write_json_lines

HERE = Path(__file__).resolve().parent
FILES = ("approved.jsonl", "held_out.jsonl")


def build(out: Path = HERE) -> None:
    """Write the data files.

    Args:
        out: the folder to write into.

    Raises:
        CorpusError: an item of the sources lacks a field.
    """
    records = [record(path, item) for path, items in read_yaml(HERE / "source") for item in items]
    write_json_lines(out / "approved.jsonl", [item for item in records if "email" in item])
    write_json_lines(out / "held_out.jsonl", [item for item in records if "email" not in item])


def record(path: Path, item: dict[str, Any]) -> dict[str, Any]:
    """One line of a data file.

    Args:
        path: the item's file, named in errors.
        item: the item as written.
    """
    for name in ("id", "situation", "brief", "must"):
        if not item.get(name):
            raise CorpusError(
                f"{path}, {item.get('id', 'an item')}: the field {name!r} is missing."
            )
    line = {"id": item["id"], "situation": item["situation"], "brief": item["brief"].strip()}
    line["must"] = item["must"]
    if "email" in item:
        line["email"] = item["email"].strip()
    return line


def statistics(folder: Path = HERE) -> str:
    """The card's tables: counts and mean lengths by situation, and the files' checksums.

    Args:
        folder: where the data files lie.
    """
    approved, held_out = (
        [json.loads(x) for x in (folder / f).open(encoding="utf8")] for f in FILES
    )
    held = Counter(item["situation"] for item in held_out)
    situations = sorted({item["situation"] for item in approved})
    rows = [
        _row(name, [item for item in approved if item["situation"] == name], held[name])
        for name in situations
    ]
    head = ["situation", "approved", "held out", "words in brief", "words in e-mail"]
    head += ["words in body", "sentences in body", "facts to carry"]
    tables = table(head, [*rows, _row("all", approved, len(held_out))])
    return f"{tables}\n\n{checksums(folder, FILES)}"


def _row(name: str, items: list[dict[str, Any]], held_out: int) -> list[object]:
    bodies = [parse_email(item["email"]).body for item in items]
    return [
        name,
        len(items),
        held_out,
        f"{mean(len(item['brief'].split()) for item in items):.1f}",
        f"{mean(len(item['email'].split()) for item in items):.1f}",
        f"{mean(len(body.split()) for body in bodies):.1f}",
        f"{mean(len(email_sentences(body)) for body in bodies):.1f}",
        f"{mean(len(item['must']) for item in items):.1f}",
    ]


if __name__ == "__main__":
    build()
    refresh_card(HERE / "README.md", statistics())
