"""The handbook is what its data card says: every check is also shown to find a planted error."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.evaluate.correctness import answering_pages, is_correct
from course_utils.files import DATASETS
from course_utils.generate.citing import Answer
from course_utils.search.documents import Question, Span
from course_utils.tasks.handbook import (
    load_follow_ups,
    load_handbook,
    load_questions,
    sample_of_kinds,
)


@dataclass
class Handbook:
    """What the checks look at, small enough to spoil one thing at a time."""

    pages: dict[str, str]
    paths: dict[str, str]
    week2: dict[str, str]
    questions: list[Question]
    changed: list[Question] = field(default_factory=list)


@pytest.fixture(scope="module")
def handbook() -> Handbook:
    first, second = load_handbook(1), load_handbook(2)
    return Handbook(
        pages={page.node_id: page.text for page in first},
        paths={page.node_id: page.metadata["path"] for page in [*second, *first]},
        week2={page.node_id: page.text for page in second},
        questions=load_questions(),
        changed=[q for q in load_questions(week=2) if q.kind.endswith("changed")],
    )


def check_ids(book: Handbook) -> list[str]:
    ids = Counter(question.id for question in book.questions)
    return [f"{name} is used {n} times" for name, n in ids.items() if n > 1] + [
        f"{page} is not named after its file"
        for page, path in book.paths.items()
        if Path(path).stem != page
    ]


def check_spans(book: Handbook) -> list[str]:
    """Spans are inside their page, and the last one holds the answer."""
    found = []
    for questions, pages in ((book.questions, book.pages), (book.changed, book.week2)):
        for question in questions:
            for span in question.gold:
                quote = pages.get(span.page, "")[span.start : span.end]
                if not quote.strip() or len(quote) != span.end - span.start:
                    found.append(f"{question.id}: nothing at its span on {span.page}")
                elif span is question.gold[-1] and not is_correct(Answer(quote), question):
                    found.append(f"{question.id}: {question.answer!r} is not in {quote!r}")
    return found


def check_kinds(book: Handbook) -> list[str]:
    found = []
    for question in book.questions:
        if question.kind.endswith("unanswerable") == question.answerable:
            found.append(f"{question.id}: {question.kind}, with {len(question.gold)} spans")
        if question.kind == "two-pages" and len({span.page for span in question.gold}) < 2:
            found.append(f"{question.id}: two pages are needed")
        missing = sorted(set(question.grades) - set(book.pages))
        if missing:
            found.append(f"{question.id}: no page {missing[0]}")
    return found


def check_splits(book: Handbook) -> list[str]:
    """Questions that ask for the same words, or in the same words, are in one split."""
    found: list[str] = []
    seen: dict[str, str] = {}
    for question in book.questions:
        keys = [re.sub(r"\W+", " ", question.text.lower()).strip()]
        keys += [str(question.gold[-1])] if question.gold else []
        for key in keys:
            if seen.setdefault(key, question.split) != question.split:
                found.append(f"{question.id}: asked in two splits")
    return found


def check_lengths(book: Handbook) -> list[str]:
    words = {page: len(text.split()) for page, text in book.pages.items()}
    return [f"{page} has {n} words" for page, n in words.items() if not 55 <= n <= 930]


def check_links(book: Handbook) -> list[str]:
    found = []
    for pages in (book.pages, book.week2):
        for page, text in pages.items():
            for space, target in re.findall(r"\]\(\.\./([\w-]+)/([\w-]+)\.md", text):
                if target not in pages or Path(book.paths[target]).parent.name != space:
                    found.append(f"{page} links to {space}/{target}")
    return found


def check_weeks(book: Handbook) -> list[str]:
    """A changed question's new answer is another one, and its old words are gone in week 2."""
    found = []
    for old, new in zip(
        [q for q in book.questions if q.kind.endswith("changed")], book.changed, strict=True
    ):
        if is_correct(Answer(new.answer), old):
            found.append(f"{new.id}: the answer did not change")
        span = old.gold[-1]
        if book.pages[span.page][span.start : span.end] in book.week2[span.page]:
            found.append(f"{new.id}: the old words still stand on {span.page}")
    return found


def check_everyday(book: Handbook) -> list[str]:
    """Everyday questions ask for one thing, do not say it, and every page named says it."""
    found = []
    asked = [q for q in book.questions if q.kind.startswith("everyday")]
    for question in asked:
        if question.text.split()[0] in ("Is", "Are", "Do", "Does", "Did", "Can", "May", "Has"):
            found.append(f"{question.id}: yes or no")
        if question.kind == "everyday-search" and not 2 <= len(question.text.split()) <= 6:
            found.append(f"{question.id}: too long for a search box")
        if question.answerable and is_correct(Answer(question.text), question):
            found.append(f"{question.id}: says its own answer")
        for page in answering_pages(question):
            if not is_correct(Answer(book.pages[page]), question):
                found.append(f"{question.id}: {page} does not say the answer")
    splits = Counter((q.split, q.answerable) for q in asked)
    wanted = {("train", True): 40, ("dev", True): 30, ("dev", False): 10}
    if splits != wanted | {("test", True): 90, ("test", False): 30}:
        found.append(f"everyday questions by split: {splits}")
    return found


CHECKS = [
    check_everyday,
    check_ids,
    check_spans,
    check_kinds,
    check_splits,
    check_lengths,
    check_links,
    check_weeks,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_handbook_passes(check: Callable[[Handbook], list[str]], handbook: Handbook) -> None:
    assert check(handbook) == []


def _first(book: Handbook, kind: str) -> int:
    return next(i for i, question in enumerate(book.questions) if question.kind == kind)


def _double(book: Handbook) -> None:
    book.questions.append(book.questions[0])


def _rename(book: Handbook) -> None:
    book.paths["first-week"] = "handbook/week1/onboarding/week-one.md"


def _shift(book: Handbook) -> None:
    i = _first(book, "lookup")
    gold = tuple(Span(s.page, s.start + 10**6, s.end + 10**6) for s in book.questions[i].gold)
    book.questions[i] = replace(book.questions[i], gold=gold)


def _answer(book: Handbook) -> None:
    i = _first(book, "paraphrase")
    book.questions[i] = replace(book.questions[i], answer="nothing of the sort", accepted=())


def _kind(book: Handbook) -> None:
    i = _first(book, "unanswerable")
    book.questions[i] = replace(book.questions[i], gold=(Span("first-week", 0, 5),))


def _grade(book: Handbook) -> None:
    book.questions[0] = replace(book.questions[0], grades={"no-such-page": 1})


def _split(book: Handbook) -> None:
    other = "dev" if book.questions[0].split != "dev" else "test"
    book.questions.append(replace(book.questions[0], id="x", split=other))


def _yes_or_no(book: Handbook) -> None:
    i = _first(book, "everyday-question")
    book.questions[i] = replace(book.questions[i], text="Is the door open?")


def _long_search(book: Handbook) -> None:
    i = _first(book, "everyday-search")
    book.questions[i] = replace(book.questions[i], text="the port of the database of the old bus")


def _told(book: Handbook) -> None:
    i = _first(book, "everyday-question")
    q = book.questions[i]
    book.questions[i] = replace(q, text=f"{q.text} {q.answer}")


def _elsewhere(book: Handbook) -> None:
    i = _first(book, "everyday-question")
    book.questions[i] = replace(book.questions[i], grades={"first-week": 2})


def _lost(book: Handbook) -> None:
    del book.questions[_first(book, "everyday-typo")]


def _length(book: Handbook) -> None:
    book.pages["first-week"] = "Too short."


def _link(book: Handbook) -> None:
    book.pages["first-week"] += "[x](../glossary/no-such-page.md)"


def _same(book: Handbook) -> None:
    old = next(q for q in book.questions if q.kind == "changed")
    book.changed[0] = replace(book.changed[0], answer=old.answer)


def _still(book: Handbook) -> None:
    old = next(q for q in book.questions if q.kind == "changed")
    book.week2[old.gold[-1].page] = book.pages[old.gold[-1].page]


@pytest.mark.parametrize(
    ("check", "spoil", "word"),
    [
        (check_ids, _double, "2 times"),
        (check_ids, _rename, "not named"),
        (check_spans, _shift, "nothing at its span"),
        (check_spans, _answer, "is not in"),
        (check_kinds, _kind, "unanswerable, with"),
        (check_kinds, _grade, "no page"),
        (check_splits, _split, "two splits"),
        (check_everyday, _yes_or_no, "yes or no"),
        (check_everyday, _long_search, "search box"),
        (check_everyday, _told, "its own answer"),
        (check_everyday, _elsewhere, "does not say"),
        (check_everyday, _lost, "by split"),
        (check_lengths, _length, "words"),
        (check_links, _link, "links to"),
        (check_weeks, _same, "did not change"),
        (check_weeks, _still, "still stand"),
    ],
)
def test_each_fault_is_found(
    check: Callable[[Handbook], list[str]],
    spoil: Callable[[Handbook], None],
    word: str,
    handbook: Handbook,
) -> None:
    spoiled = deepcopy(handbook)
    spoil(spoiled)
    assert any(word in complaint for complaint in check(spoiled))


@pytest.mark.slow
def test_the_build_reproduces_every_file() -> None:
    def contents() -> dict[Path, bytes]:
        files = (DATASETS / "handbook").rglob("*")
        return {path: path.read_bytes() for path in files if path.suffix in (".md", ".jsonl")}

    before = contents()
    subprocess.run([sys.executable, str(DATASETS / "handbook" / "build.py")], check=True)
    assert contents() == before


def test_the_stress_test_and_the_everyday_questions_are_all_there_are() -> None:
    everyday, stress = (load_questions(kind=kind) for kind in ("everyday", "stress"))
    assert {q.kind.startswith("everyday") for q in everyday} == {True}
    assert {q.kind.startswith("everyday") for q in stress} == {False}
    assert (len(everyday), len(stress), len(load_questions())) == (200, 400, 600)


@pytest.mark.parametrize(("split", "n"), [("dev", 30), ("test", 90)])
def test_no_follow_up_says_its_answer(split: str, n: int) -> None:
    everyday = {q.id: q for q in load_questions(split, "everyday") if q.answerable}
    pairs = load_follow_ups(split)
    assert [question.id for question, _ in pairs] == list(everyday) and len(pairs) == n
    for question, chat in pairs:
        assert [message["role"] for message in chat] == ["user", "assistant", "user"]
        assert chat[-1]["content"] == question.text != everyday[question.id].text
        assert question.gold == everyday[question.id].gold
        said = " ".join(message["content"] for message in chat)
        assert not is_correct(Answer(said), question), question.id


@given(st.integers(1, 68))
def test_a_sample_of_kinds_is_spread_over_them(n: int) -> None:
    questions = [q for q in load_questions("dev", "stress") if q.answerable]
    sample = sample_of_kinds(questions, n)
    assert len({question.id for question in sample}) == n
    for kind in {question.kind for question in questions}:
        share = sum(question.kind == kind for question in questions) / len(questions)
        assert abs(sum(question.kind == kind for question in sample) - n * share) <= 1
    assert sample_of_kinds(questions[::-1], n) == sample
