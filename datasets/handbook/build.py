"""Build the handbook's derived files from what was written by hand.

    python datasets/handbook/build.py

reads  company.yaml, the written pages in week1/, questions/*.yaml and edits/*.yaml
writes the rendered pages into week1/, week2/ (edited and new pages, and which are removed),
       a manifest.json in both, questions.jsonl (offsets and splits)

The same input gives the same bytes. Written pages are never touched: a manifest says which pages
are rendered, and only those are written or deleted.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import yaml
from render import REMOVED, render, render_week2

from course_utils.search.documents import CorpusError, split_front_matter

HERE = Path(__file__).resolve().parent
SHARES = {"test": 2, "train": 2, "dev": 1}  # of every five questions of a kind
EVERYDAY = {  # the everyday questions have splits of their own
    "everyday-question": {"test": 49, "train": 23, "dev": 18},
    "everyday-search": {"test": 17, "train": 8, "dev": 5},
    "everyday-typo": {"test": 11, "train": 5, "dev": 4},
    "everyday-changed": {"test": 13, "train": 4, "dev": 3},
    "everyday-unanswerable": {"test": 30, "dev": 10},
}


def read_pages(folder: Path) -> dict[str, Path]:
    """Page id to file; ids are file names and unique over all spaces."""
    pages: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.md")):
        if path.stem in pages:
            raise CorpusError(f"{path} and {pages[path.stem]} have the same id.")
        pages[path.stem] = path
    return pages


def rendered_before(folder: Path) -> set[str]:
    """Ids of the pages that an earlier run rendered, as its manifest has them."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    return {page for page, entry in manifest.items() if entry["source"] == "rendered"}


def write_rendered(folder: Path, rendered: dict[str, str]) -> None:
    """Write rendered pages and delete those of an earlier run that are no longer rendered."""
    ours, pages = rendered_before(folder), read_pages(folder)
    new = {Path(name).stem: name for name in rendered}
    for page, path in pages.items():
        if page in ours and (page not in new or folder / new[page] != path):
            path.unlink()
        elif page in new and page not in ours and path.read_text("utf8") != rendered[new[page]]:
            raise CorpusError(f"{path} was written by hand, and a page with its id is rendered.")
    for name, text in rendered.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf8")


def write_manifest(folder: Path, rendered: dict[str, str]) -> None:
    ids = {Path(name).stem for name in rendered}
    manifest = {
        page: {
            "source": "rendered" if page in ids else "written",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for page, path in sorted(read_pages(folder).items())
    }
    text = json.dumps(manifest, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf8")


def read_lists(folder: Path) -> list[dict[str, Any]]:
    """All items of a folder of YAML lists, in the files' order."""
    return [
        item for path in sorted(folder.glob("*.yaml")) for item in yaml.safe_load(path.read_text())
    ]


def read_questions() -> list[dict[str, Any]]:
    """Questions as written, with the fields that may be left out filled in."""
    empty: dict[str, Any] = {"accept": [], "gold": [], "related": [], "also": []}
    return [empty | item for item in read_lists(HERE / "questions")]


def body(path: Path) -> str:
    return split_front_matter(path.read_text(encoding="utf8"), path)[1]


def build_week2(
    pages: dict[str, Path], edits: list[dict[str, str]], rendered: dict[str, str]
) -> None:
    """Apply the edits to copies of the pages they change, and lay the new pages beside them."""
    target = HERE / "week2"
    shutil.rmtree(target, ignore_errors=True)
    texts = {
        page: pages[page].read_text(encoding="utf8") for page in sorted({e["page"] for e in edits})
    }
    for edit in edits:
        if texts[edit["page"]].count(edit["old"]) != 1:
            raise CorpusError(
                f"edits: {edit['old']!r} does not stand exactly once on {edit['page']}."
            )
        texts[edit["page"]] = texts[edit["page"]].replace(edit["old"], edit["new"])
    for page, text in texts.items():
        text = re.sub(r"(?m)^updated: .*$", "updated: 2026-03-06", text, count=1)
        path = target / pages[page].relative_to(HERE / "week1")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
    write_rendered(target, rendered)
    write_manifest(target, rendered)
    (target / "removed.txt").write_text("".join(f"{page}\n" for page in REMOVED))


def span(page: str, quote: str, path: Path) -> dict[str, Any]:
    """The place of a quote in a page's text, where it must stand exactly once."""
    text = body(path)
    if text.count(quote) != 1:
        raise CorpusError(f"questions: {quote!r} does not stand exactly once on {page}.")
    start = text.index(quote)
    return {"page": page, "start": start, "end": start + len(quote)}


def last_span(item: dict[str, Any]) -> str:
    """Where a question's answer stands; its id if no page has one."""
    last = item["gold"][-1] if item["gold"] else {"page": item["id"], "quote": ""}
    return f"{last['page']} {last['quote']}"


def assign_splits(items: list[dict[str, Any]]) -> dict[str, str]:
    """Question id to split: 40/20/40 within each kind, questions on one span kept together."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        groups[last_span(item)].append(item)
    sizes = Counter(item["kind"] for item in items)
    room = {
        (kind, split): sizes[kind] * share / 5 for kind in sizes for split, share in SHARES.items()
    }
    splits: dict[str, str] = {}

    def order(group: list[dict[str, Any]]) -> tuple[int, str]:
        return -len(group), hashlib.sha256(group[0]["id"].encode()).hexdigest()

    for group in sorted(groups.values(), key=order):
        kind = group[0]["kind"]
        split = max(SHARES, key=lambda s: room[kind, s] / SHARES[s])
        for item in group:
            splits[item["id"]] = split
            room[item["kind"], split] -= 1
    return splits


def assign_everyday(items: list[dict[str, Any]], taken: dict[str, str]) -> dict[str, str]:
    """Everyday questions: as many of each kind as ``EVERYDAY`` says, drawn by a hash of the ids.

    One that asks for a span that another question asks for, too, is in the same split:
    ``taken`` has the splits of spans.
    """
    room = {kind: dict(sizes) for kind, sizes in EVERYDAY.items()}
    splits: dict[str, str] = {}

    def order(item: dict[str, Any]) -> tuple[bool, str]:
        return last_span(item) not in taken, hashlib.sha256(item["id"].encode()).hexdigest()

    for item in sorted(items, key=order):
        left = room[item["kind"]]
        split = taken.get(last_span(item)) or next(split for split in left if left[split] > 0)
        splits[item["id"]] = split
        left[split] -= 1
    return splits


def build_questions(items: list[dict[str, Any]], pages: dict[str, Path]) -> None:
    week2 = pages | read_pages(HERE / "week2")
    stress = [item for item in items if item["kind"] not in EVERYDAY]
    splits = assign_splits(stress)
    taken = {last_span(item): splits[item["id"]] for item in stress}
    splits |= assign_everyday([item for item in items if item["kind"] in EVERYDAY], taken)
    with (HERE / "questions.jsonl").open("w", encoding="utf8") as file:
        for item in items:
            gold = [span(g["page"], g["quote"], pages[g["page"]]) for g in item["gold"]]
            record = {
                "id": item["id"],
                "split": splits[item["id"]],
                "kind": item["kind"],
                "question": item["question"],
                "answer": item["answer"],
                "accepted": [str(variant) for variant in item["accept"]],
                "gold": gold,
                "grades": {page: 1 for page in item["related"] if gold}
                | dict.fromkeys(item["also"], 2)
                | {g["page"]: 2 for g in gold},
            }
            if not gold:
                record["near"] = item["near"]
            if "week2" in item:
                after, page = item["week2"], gold[-1]["page"]
                record["week2"] = {
                    "answer": after["answer"],
                    "accepted": [str(variant) for variant in after.get("accept") or []],
                    "gold": [span(page, after["quote"], week2[page])],
                }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def main() -> None:
    company = yaml.safe_load((HERE.parent / "company.yaml").read_text(encoding="utf8"))
    week1 = render(company)
    write_rendered(HERE / "week1", week1)
    write_manifest(HERE / "week1", week1)
    pages = read_pages(HERE / "week1")
    build_week2(pages, read_lists(HERE / "edits"), render_week2(company))
    build_questions(read_questions(), pages)


if __name__ == "__main__":
    main()
