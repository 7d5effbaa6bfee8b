"""What the build scripts of datasets/ share: reading sources, splitting, writing, data cards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from course_utils.search.documents import CorpusError

GENERATED = re.compile(r"(?s)(<!-- built -->\n).*?(<!-- /built -->)")


def read_yaml(folder: Path) -> list[tuple[Path, Any]]:
    """Every YAML file of a folder with its content, by name.

    Args:
        folder: where the sources lie.

    Raises:
        CorpusError: no such files, or one that is not YAML.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise CorpusError(f"{folder} holds nothing to build from: put .yaml files in it.")
    return [(path, _load(path)) for path in paths]


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf8"))
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        where = f"line {place.line + 1}" if place else "the file"
        raise CorpusError(f"{path}, {where}: not valid YAML ({error.problem}).") from error


def assign_splits(strata: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, str]:
    """Give every id a split, so that every stratum is spread over the splits as the whole is.

    The ids are laid out stratum by stratum, by hash within one, and dealt along that line to the
    split that is furthest behind its share. The same ids always give the same splits.

    Args:
        strata: id to the name of its stratum.
        sizes: split to how many ids it gets.

    Raises:
        CorpusError: the sizes do not add up to the number of ids.
    """
    if sum(sizes.values()) != len(strata):
        raise CorpusError(
            f"The splits hold {sum(sizes.values())} items, but there are {len(strata)}."
        )
    line = sorted(
        strata, key=lambda item: (strata[item], hashlib.sha256(item.encode()).hexdigest())
    )
    splits: dict[str, str] = {}
    given = dict.fromkeys(sizes, 0)
    for place, item in enumerate(line, start=1):
        behind = {
            name: size * place / len(line) - given[name]
            for name, size in sizes.items()
            if given[name] < size
        }
        splits[item] = max(behind, key=behind.__getitem__)
        given[splits[item]] += 1
    return splits


def write_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, as UTF-8, the keys as they come.

    Args:
        path: the file, replaced.
        records: what to write.
    """
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf8", newline="\n")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table.

    Args:
        head: the columns' names.
        rows: the cells of each row.
    """
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def checksums(folder: Path, names: Iterable[str]) -> str:
    """A Markdown table of files with their lines, bytes and SHA-256.

    Args:
        folder: where the files lie.
        names: their names.
    """
    contents = {name: (folder / name).read_bytes() for name in names}
    return table(
        ["file", "lines", "bytes", "sha256"],
        [
            [f"`{name}`", content.count(b"\n"), len(content), hashlib.sha256(content).hexdigest()]
            for name, content in contents.items()
        ],
    )


def refresh_card(card: Path, text: str) -> None:
    """Replace what stands between the marks of a data card.

    Args:
        card: the README.md, with one ``<!-- built -->`` and one ``<!-- /built -->``.
        text: tables of statistics and checksums.

    Raises:
        CorpusError: the marks are missing.
    """
    old = card.read_text(encoding="utf8")
    if len(GENERATED.findall(old)) != 1:
        raise CorpusError(
            f"{card} needs one <!-- built --> … <!-- /built --> to write tables into."
        )
    new = GENERATED.sub(lambda marks: f"{marks[1]}{text}\n{marks[2]}", old)
    card.write_text(new, encoding="utf8", newline="\n")


def built_part(card: Path) -> str:
    """What stands between the marks of a data card.

    Args:
        card: the README.md.
    """
    found = GENERATED.search(card.read_text(encoding="utf8"))
    return (
        found[0].removeprefix("<!-- built -->\n").removesuffix("\n<!-- /built -->") if found else ""
    )
