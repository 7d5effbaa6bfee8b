"""Build the ticket data set's file, and the tables of its card, from source/*.yaml.

    python datasets/tickets/build.py

writes tickets.jsonl and the built part of README.md; the same sources give the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from course_utils.search.documents import CorpusError
from course_utils.tasks.tickets import in_schema_order

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
FILES = ("tickets.jsonl",)
SIZES = {"train": 400, "dev": 80, "test": 120}


def build(out: Path = HERE) -> None:
    """Write the data file.

    Args:
        out: the folder to write into.

    Raises:
        CorpusError: an item of the sources lacks a field, or their number is not what it was.
    """
    items = []
    for path, written in read_yaml(HERE / "source"):
        for item in written:
            for name in ("id", "jargon", "message", "ticket"):
                if name not in item:
                    where = f"{path}, {item.get('id', 'an item')}"
                    raise CorpusError(f"{where}: the field {name!r} is missing.")
            items.append(item)
    splits = assign_splits({item["id"]: stratum(item) for item in items}, SIZES)
    write_json_lines(
        out / "tickets.jsonl",
        [
            {
                "id": item["id"],
                "split": splits[item["id"]],
                "message": item["message"].strip(),
                "ticket": in_schema_order(item["ticket"]),
                "jargon": item["jargon"],
            }
            for item in items
        ],
    )


def stratum(item: dict[str, Any]) -> str:
    """Which messages are spread over the splits together: jargon first, then the labels.

    Args:
        item: a message with its ticket.
    """
    return f"{item['jargon']} {item['ticket']['priority']} {item['ticket']['ask']}"


def statistics(folder: Path = HERE) -> str:
    """The card's tables: what the splits hold, and the file's checksum.

    Args:
        folder: where the data file lies.
    """
    items = [json.loads(line) for line in (folder / FILES[0]).open(encoding="utf8")]
    groups = [[i for i in items if i["split"] == split] for split in SIZES] + [items]
    rows: list[list[object]] = [["messages", *map(len, groups)]]
    for label, keep in COUNTED.items():
        rows.append([label, *(sum(keep(item) for item in group) for group in groups)])
    for label, text in MEASURED.items():
        means = [mean(len(text(item).split()) for item in group) for group in groups]
        rows.append([label, *(f"{value:.1f}" for value in means)])
    return f"{table(['', *SIZES, 'all'], rows)}\n\n{checksums(folder, FILES)}"


def _letters(item: dict[str, Any]) -> str:
    return "".join(problem.get("fault", "")[:1] for problem in item["ticket"]["problems"])


def _has(key: str, value: str) -> Callable[[dict[str, Any]], bool]:
    return lambda item: item["ticket"][key] == value


def _category(value: str) -> Callable[[dict[str, Any]], bool]:
    return lambda item: any(p["category"] == value for p in item["ticket"]["problems"])


def _fault(letter: str) -> Callable[[dict[str, Any]], bool]:
    return lambda item: letter in _letters(item)


CATEGORIES = ("temperature", "delivery", "billing", "lantern", "damage", "account")
COUNTED: dict[str, Callable[[dict[str, Any]], bool]] = {
    "jargon": lambda item: item["jargon"],
    "without an order": lambda item: "order" not in item["ticket"],
    "with a crib size": lambda item: "crib" in item["ticket"],
    "with a lantern number": lambda item: "lantern" in item["ticket"].get("crib", {}),
    "with quoted history": lambda item: any(x[:1] == ">" for x in item["message"].split("\n")),
    **{
        f"{count} problem{'s' * (count > 1)}": lambda item, n=count: (  # type: ignore[misc]
            len(item["ticket"]["problems"]) == n
        )
        for count in (1, 2, 3)
    },
    **{f"priority {name}": _has("priority", name) for name in ("low", "normal", "high", "urgent")},
    **{
        f"ask {name}": _has("ask", name)
        for name in ("refund", "replace", "collect", "information", "call_back")
    },
    **{f"category {name}": _category(name) for name in CATEGORIES},
    **{f"fault {letter}": _fault(letter) for letter in "TGBSXN"},
}
MEASURED: dict[str, Callable[[dict[str, Any]], str]] = {
    "mean words in a message": lambda item: item["message"],
}


if __name__ == "__main__":
    build()
    refresh_card(HERE / "README.md", statistics())
