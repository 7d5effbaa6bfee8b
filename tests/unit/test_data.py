"""The e-mails, tickets and cases are what their cards say, and the validators see when not.

A validator takes the loaded data and returns complaints. Each is run once on the real data, where
it has none, and once on data with an error planted.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import building
import pytest

from course_utils import files
from course_utils.files import CourseError
from course_utils.search.documents import CorpusError
from course_utils.tasks import email_rules, emails, tickets
from course_utils.tasks import law as law_task
from course_utils.tasks.emails import EmailBrief
from course_utils.tasks.law import (
    COURTS,
    Case,
    CaseQuestion,
    case_documents,
    load_case_questions,
    load_cases,
)
from course_utils.tasks.law_form import CONCLUSIONS, NO_RULE, complaints, parse_legal_answer
from course_utils.tasks.tickets import Ticket

SETS = ("emails", "tickets", "cases")
NEAR = 0.3  # share of the shorter text's word triples that two texts may not reach

# --- validators of all three ----------------------------------------------------------------------


def repeated(values: Iterable[str]) -> list[str]:
    return [f"{value!r} stands {n} times" for value, n in Counter(values).items() if n > 1]


def wrong_sizes(splits: Iterable[str], sizes: dict[str, int]) -> list[str]:
    given = Counter(splits)
    return [
        f"{s}: {given[s]}, not {sizes.get(s)}" for s in {*sizes, *given} if given[s] != sizes.get(s)
    ]


def near_duplicates(texts: Iterable[tuple[str, str, str]]) -> list[str]:
    """Pairs of (id, split, text) from different splits that share too many word triples."""
    triples: dict[str, set[tuple[str, ...]]] = {}
    where: dict[tuple[str, ...], list[str]] = defaultdict(list)
    split_of = {}
    for item, split, text in texts:
        words = re.findall(r"\w+", text.lower())
        triples[item] = set(zip(words, words[1:], words[2:], strict=False))
        split_of[item] = split
        for triple in triples[item]:
            where[triple].append(item)
    shared = Counter(
        (a, b)
        for items in where.values()
        for place, a in enumerate(items)
        for b in items[place + 1 :]
        if split_of[a] != split_of[b]
    )
    return [
        f"{a} and {b} are near-duplicates"
        for (a, b), n in shared.items()
        if n >= NEAR * min(len(triples[a]), len(triples[b]))
    ]


# --- e-mails --------------------------------------------------------------------------------------


def broken_rules(approved: list[EmailBrief]) -> list[str]:
    return [
        f"{item.id}: {name}"
        for item in approved
        for name, kept in email_rules.check_email(item.email, item.fields).items()
        if not kept
    ]


def facts_left_out(approved: list[EmailBrief]) -> list[str]:
    return [
        f"{item.id}: {fact!r} is not in the e-mail"
        for item in approved
        for fact, there in zip(item.must, email_rules.carries(item.email, item.must), strict=True)
        if not there
    ]


def shared_sentences(approved: list[EmailBrief]) -> list[str]:
    mails = [email_rules.parse_email(item.email) for item in approved]
    return repeated(
        sentence
        for mail in mails
        for part in (mail.body, *mail.next_steps)
        for sentence in email_rules.email_sentences(part)
    )


def facts_not_in_house_form(briefs: list[EmailBrief]) -> list[str]:
    wrong = (email_rules.WRONG_TIMES, email_rules.WRONG_UNITS, email_rules.NOT_OUR_WORDS)
    return [
        f"{item.id}: {fact!r}"
        for item in briefs
        for fact in item.must
        if email_rules.WRONG_DATES.search(re.sub(r"EUR [\d,.]+\d", "EUR", fact))
        or any(pattern.search(fact) for pattern in wrong)
    ]


def incomplete_briefs(briefs: list[EmailBrief]) -> list[str]:
    names = ["customer", "order", "facts", "next", "agent"]
    return [
        f"{item.id}: the brief is not complete"
        for item in briefs
        if list(item.fields) != names
        or not all(item.fields.values())
        or not 3 <= len(item.must) <= 5
    ]


def notes(briefs: list[EmailBrief], split: str) -> list[tuple[str, str, str]]:
    return [(b.id, split, f"{b.fields['facts']} {b.fields['next']}") for b in briefs]


# --- tickets --------------------------------------------------------------------------------------

CATEGORY = {"T": "temperature", "S": "temperature", "G": "lantern", "B": "lantern"}
CATEGORY |= {"X": "damage", "N": "delivery"}


def not_by_the_schema(items: list[Ticket]) -> list[str]:
    found = [(item.id, tickets.check_ticket(tickets.to_json(item.ticket))) for item in items]
    return [f"{name}: {result.error}" for name, result in found if not result.valid]


def faults(item: Ticket) -> list[str]:
    return [problem["fault"] for problem in item.ticket["problems"] if "fault" in problem]


def priority(item: Ticket) -> str:
    """notation.md's rule, from the ticket and the days that the customer names."""
    for fault in faults(item):
        minutes = int(fault.split("/")[1].split("@")[0]) if fault[0] == "T" else 0
        if fault.endswith("@V") and (fault[0] == "G" or minutes >= 30):
            return "urgent"
    own_words = re.sub(r"(?m)^>.*$", "", item.message)
    deadline = re.search(r"\b(?:today|tonight|tomorr?ow)\b", own_words, re.IGNORECASE)
    if deadline or any(fault[0] in "TS" for fault in faults(item)):
        return "high"
    return "low" if not faults(item) and item.ticket["ask"] == "information" else "normal"


def wrong_priorities(items: list[Ticket]) -> list[str]:
    return [
        f"{item.id}: {item.ticket['priority']}, not {priority(item)}"
        for item in items
        if item.ticket["priority"] != priority(item)
    ]


def not_in_the_message(items: list[Ticket]) -> list[str]:
    found = []
    for item in items:
        digits = re.sub(r"[^\w]|_", "", item.message).lower()
        crib = item.ticket.get("crib", {})
        if item.ticket.get("order", "CV-")[3:] not in digits:
            found.append(f"{item.id}: the order is not in the message")
        words = {12: "twelve", 40: "forty", 90: "ninety"}
        size = crib.get("size", 12)
        if crib and not re.search(rf"(?<!\d){size}(?!\d)|{words[size]}", item.message):
            found.append(f"{item.id}: the size is not in the message")
        if crib.get("lantern", "").replace("-", "").lower() not in digits:
            found.append(f"{item.id}: the lantern is not in the message")
    return found


def wrong_categories(items: list[Ticket]) -> list[str]:
    return [
        f"{item.id}: {problem['fault']} is no fault of {problem['category']}"
        for item in items
        for problem in item.ticket["problems"]
        if "fault" in problem and CATEGORY[problem["fault"][0]] != problem["category"]
    ]


def wrong_jargon(items: list[Ticket]) -> list[str]:
    return [f"{item.id}: jargon" for item in items if item.jargon != bool(faults(item))]


# --- cases ----------------------------------------------------------------------------------------


def wrong_citations(law: list[Case]) -> list[str]:
    return [
        f"{case.id}: {case.citation} does not agree with the id, court or year"
        for case in law
        if case.citation != f"[{case.court} {case.year}/{case.id.rsplit('-', 1)[1]}]"
        or not case.id.startswith(f"{case.court.lower()}-{case.year}-")
    ]


def wrong_overruling(law: list[Case]) -> list[str]:
    by_id, rank = {case.id: case for case in law}, list(COURTS)
    found = []
    for case in law:
        if case.overruled_by and by_id[case.overruled_by].overrules != case.id:
            found.append(f"{case.id}: {case.overruled_by} does not overrule it")
        if not case.overrules:
            continue
        old = by_id.get(case.overrules)
        if old is None:
            found.append(f"{case.id}: overrules {case.overrules}, which is no case")
        elif old.overruled_by != case.id:
            found.append(f"{old.id}: does not say that {case.id} overrules it")
        elif old.year >= case.year or rank.index(old.court) > rank.index(case.court):
            found.append(f"{case.id}: is not later than {old.id}, or of a lower court")
        elif old.topic != case.topic or old.rule == case.rule or old.name not in case.holding:
            found.append(f"{case.id}: is not about what {old.id} is about, or does not name it")
        elif re.search("overrul", f"{old.facts} {old.holding} {old.rule}") and not old.overrules:
            found.append(f"{old.id}: tells that it is overruled")
    return found


def wrong_controlling(questions: list[CaseQuestion], law: list[Case]) -> list[str]:
    in_force = {case.id for case in law if not case.overruled_by} | {""}
    return [
        f"{question.id}: {question.case} is overruled or unknown"
        for question in questions
        if question.case not in in_force
    ]


def wrong_answers(questions: list[CaseQuestion], law: list[Case]) -> list[str]:
    by_id, found = {case.id: case for case in law}, []
    for question in questions:
        found += [f"{question.id}: {c}" for c in complaints(question.answer)]
        answer, case = parse_legal_answer(question.answer), by_id.get(question.case)
        rule = f"{case.rule} {case.name} {case.citation}." if case else NO_RULE
        if answer.rule_line != rule:
            found.append(f"{question.id}: the rule line is not the case's rule and citation")
        if answer.conclusion != CONCLUSIONS.get(question.outcome):
            found.append(f"{question.id}: the conclusion is not the outcome")
        if (question.outcome == "none") != (not question.case):
            found.append(f"{question.id}: open, yet a case decides it, or the other way round")
    return found


def given_away(questions: list[CaseQuestion], law: list[Case]) -> list[str]:
    by_id, found = {case.id: case for case in law}, []
    for question in questions:
        if not question.case:
            continue
        case = by_id[question.case]
        words, rule = re.findall(r"\w+", question.question.lower()), case.rule.lower()
        runs = [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]
        if case.name in question.question or any(run in rule for run in runs):
            found.append(f"{question.id}: names its case or repeats its rule")
    return found


# --- the real data --------------------------------------------------------------------------------


@cache
def real() -> dict[str, Any]:
    return {
        "approved": emails.load_emails(),
        "held_out": emails.load_emails(held_out=True),
        "tickets": tickets.load_tickets(),
        "cases": load_cases(),
        "questions": load_case_questions(),
    }


def ids(items: list[Any]) -> list[str]:
    return [item.id for item in items]


def held_apart(approved: list[EmailBrief], held_out: list[EmailBrief]) -> list[str]:
    return near_duplicates([*notes(approved, "approved"), *notes(held_out, "held out")])


# What is checked: a validator, and the data it takes by name.
CHECKS: dict[str, tuple[Callable[..., list[str]], tuple[str, ...]]] = {
    "e-mail ids": (lambda a, h: repeated(ids(a) + ids(h)), ("approved", "held_out")),
    "e-mail briefs": (lambda a, h: repeated(x.brief for x in a + h), ("approved", "held_out")),
    "e-mail orders": (
        lambda a, h: repeated(x.fields["order"] for x in a + h),
        ("approved", "held_out"),
    ),
    "e-mail fields": (lambda a, h: incomplete_briefs(a + h), ("approved", "held_out")),
    "e-mail facts": (lambda a, h: facts_not_in_house_form(a + h), ("approved", "held_out")),
    "e-mail rules": (broken_rules, ("approved",)),
    "e-mail sentences": (shared_sentences, ("approved",)),
    "e-mail carries": (facts_left_out, ("approved",)),
    "e-mails apart": (held_apart, ("approved", "held_out")),
    "ticket ids": (lambda t: repeated(ids(t)), ("tickets",)),
    "ticket sizes": (
        lambda t: wrong_sizes((x.split for x in t), {"train": 400, "dev": 80, "test": 120}),
        ("tickets",),
    ),
    "ticket schema": (not_by_the_schema, ("tickets",)),
    "ticket priority": (wrong_priorities, ("tickets",)),
    "ticket message": (not_in_the_message, ("tickets",)),
    "ticket categories": (wrong_categories, ("tickets",)),
    "ticket jargon": (wrong_jargon, ("tickets",)),
    "tickets apart": (
        lambda t: near_duplicates((x.id, x.split, x.message) for x in t),
        ("tickets",),
    ),
    "case ids": (lambda c, q: repeated(ids(c) + ids(q)), ("cases", "questions")),
    "case names": (lambda c: repeated(x.name for x in c), ("cases",)),
    "case citations": (wrong_citations, ("cases",)),
    "case overruling": (wrong_overruling, ("cases",)),
    "question sizes": (
        lambda q: wrong_sizes((x.split for x in q), {"train": 120, "dev": 30, "test": 50}),
        ("questions",),
    ),
    "question case": (wrong_controlling, ("questions", "cases")),
    "question answer": (wrong_answers, ("questions", "cases")),
    "question rule": (given_away, ("questions", "cases")),
    "questions apart": (
        lambda q: near_duplicates((x.id, x.split, x.question) for x in q),
        ("questions",),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_real_data_has_no_complaints(name: str) -> None:
    validator, takes = CHECKS[name]
    assert validator(*(real()[data] for data in takes)) == []


def first(data: str, keep: Callable[[Any], bool] = lambda item: True) -> int:
    return next(place for place, item in enumerate(real()[data]) if keep(item))


def with_ticket(item: Ticket, **changes: Any) -> Ticket:
    return replace(item, ticket=item.ticket | changes)


def with_fault(item: Ticket, fault: str) -> Ticket:
    return with_ticket(item, problems=[item.ticket["problems"][0] | {"fault": fault}])


def other_split(item: Any) -> str:
    return "dev" if item.split == "test" else "test"


def decided(question: CaseQuestion) -> bool:
    return bool(question.case)


def an_overruled_case() -> Case:
    return next(case for case in real()["cases"] if case.overruled_by)


def a_later_case() -> int:
    return first("cases", lambda case: bool(case.overrules))


# name of the check, the data, which item, what becomes of it, what the complaint holds
PLANTED: list[tuple[str, str, Callable[[], int], Callable[[Any], Any], str]] = [
    ("e-mail ids", "approved", lambda: 1, lambda x: replace(x, id="ea-001"), "ea-001"),
    (
        "e-mail briefs",
        "held_out",
        lambda: 0,
        lambda x: replace(x, brief=real()["approved"][0].brief),
        "2 times",
    ),
    (
        "e-mail orders",
        "held_out",
        lambda: 0,
        lambda x: replace(x, fields=real()["approved"][0].fields),
        "2 times",
    ),
    (
        "e-mail fields",
        "held_out",
        lambda: 0,
        lambda x: replace(x, fields=x.fields | {"next": ""}),
        "ea-h001",
    ),
    ("e-mail facts", "held_out", lambda: 0, lambda x: replace(x, must=("3pm", "14/03")), "3pm"),
    (
        "e-mail rules",
        "approved",
        lambda: 0,
        lambda x: replace(x, email=x.email.replace("Kind", "Best")),
        "ea-001: sign-off",
    ),
    (
        "e-mail sentences",
        "approved",
        lambda: 1,
        lambda x: replace(x, email=real()["approved"][0].email),
        "2 times",
    ),
    ("e-mail carries", "approved", lambda: 0, lambda x: replace(x, must=("31 May",)), "31 May"),
    (
        "e-mails apart",
        "held_out",
        lambda: 0,
        lambda x: replace(
            x, fields=x.fields | {"facts": real()["approved"][0].fields["facts"] + "; van full"}
        ),
        "near-duplicates",
    ),
    ("ticket ids", "tickets", lambda: 1, lambda x: replace(x, id="ta-001"), "ta-001"),
    ("ticket sizes", "tickets", lambda: 0, lambda x: replace(x, split=other_split(x)), "test: 1"),
    ("ticket schema", "tickets", lambda: 0, lambda x: with_ticket(x, ask="gift"), "gift"),
    (
        "ticket priority",
        "tickets",
        lambda: first("tickets", lambda x: x.ticket["priority"] == "urgent"),
        lambda x: with_ticket(x, priority="high"),
        "not urgent",
    ),
    (
        "ticket priority",
        "tickets",
        lambda: first("tickets", lambda x: x.ticket["priority"] == "low"),
        lambda x: replace(x, message=f"{x.message} I need it today."),
        "not high",
    ),
    ("ticket message", "tickets", lambda: 0, lambda x: with_ticket(x, order="CV-000000"), "order"),
    (
        "ticket message",
        "tickets",
        lambda: first("tickets", lambda x: "crib" not in x.ticket),
        lambda x: with_ticket(x, crib={"size": 90, "lantern": "L2-00000"}),
        "size",
    ),
    (
        "ticket message",
        "tickets",
        lambda: 0,
        lambda x: with_ticket(x, crib={"size": 90, "lantern": "L2-00000"}),
        "lantern",
    ),
    (
        "ticket categories",
        "tickets",
        lambda: first("tickets", lambda x: x.ticket["problems"][0]["category"] == "billing"),
        lambda x: with_fault(x, "S2@C"),
        "no fault of billing",
    ),
    ("ticket jargon", "tickets", lambda: 0, lambda x: replace(x, jargon=not x.jargon), "ta-001"),
    (
        "tickets apart",
        "tickets",
        lambda: first("tickets", lambda x: x.split != real()["tickets"][0].split),
        lambda x: replace(x, message=real()["tickets"][0].message + " Thanks!"),
        "near-duplicates",
    ),
    ("case ids", "cases", lambda: 1, lambda x: replace(x, id=real()["cases"][0].id), "2 times"),
    (
        "case names",
        "cases",
        lambda: 1,
        lambda x: replace(x, name=real()["cases"][0].name),
        "2 times",
    ),
    ("case citations", "cases", lambda: 0, lambda x: replace(x, year=1900), "does not agree"),
    ("case overruling", "cases", a_later_case, lambda x: replace(x, year=1900), "not later"),
    ("case overruling", "cases", a_later_case, lambda x: replace(x, overrules="hc-1"), "no case"),
    ("case overruling", "cases", a_later_case, lambda x: replace(x, topic="ghosts"), "not about"),
    (
        "case overruling",
        "cases",
        lambda: first("cases", lambda x: bool(x.overruled_by)),
        lambda x: replace(x, overruled_by=""),
        "does not say",
    ),
    (
        "question sizes",
        "questions",
        lambda: 0,
        lambda x: replace(x, split=other_split(x)),
        "dev",
    ),
    (
        "question case",
        "questions",
        lambda: 0,
        lambda x: replace(x, case=an_overruled_case().id),
        "is overruled",
    ),
    (
        "question answer",
        "questions",
        lambda: first("questions", decided),
        lambda x: replace(x, answer=x.answer.replace("Issue: ", "Question: ")),
        "four lines",
    ),
    (
        "question answer",
        "questions",
        lambda: first("questions", decided),
        lambda x: replace(x, answer=x.answer.replace("Rule: ", "Rule: Really, ")),
        "the case's rule",
    ),
    (
        "question answer",
        "questions",
        lambda: first("questions", lambda x: x.outcome == "carrier"),
        lambda x: replace(x, outcome="claimant"),
        "not the outcome",
    ),
    (
        "question answer",
        "questions",
        lambda: first("questions", lambda x: not x.case),
        lambda x: replace(x, case=real()["cases"][0].id),
        "open, yet",
    ),
    (
        "question rule",
        "questions",
        lambda: first("questions", decided),
        lambda x: replace(x, question=f"So {x.answer.splitlines()[1]} Right?"),
        "repeats",
    ),
    (
        "questions apart",
        "questions",
        lambda: first("questions", lambda x: x.split != real()["questions"][0].split),
        lambda x: replace(x, question=real()["questions"][0].question + " And why?"),
        "near-duplicates",
    ),
]


@pytest.mark.parametrize(
    ("name", "data", "place", "plant", "complaint"), PLANTED, ids=[case[0] for case in PLANTED]
)
def test_a_planted_error_is_found(
    name: str,
    data: str,
    place: Callable[[], int],
    plant: Callable[[Any], Any],
    complaint: str,
) -> None:
    items = list(real()[data])
    items[place()] = plant(items[place()])
    validator, takes = CHECKS[name]
    found = validator(*((real() | {data: items})[part] for part in takes))
    assert complaint in "\n".join(found)


def test_every_validator_has_a_planted_error() -> None:
    assert {name for name, *_ in PLANTED} == set(CHECKS)


# --- counts, builds and cards ---------------------------------------------------------------------


def test_sizes_and_splits() -> None:
    assert {name: len(items) for name, items in real().items()} == {
        "approved": 500,
        "held_out": 100,
        "tickets": 600,
        "cases": 120,
        "questions": 200,
    }
    assert len({item.situation for item in real()["approved"]}) >= 12
    assert {item.situation for item in real()["held_out"]} == {
        item.situation for item in real()["approved"]
    }
    assert not any(item.email for item in real()["held_out"])
    assert len(tickets.load_tickets("dev")) == 80
    assert len(load_case_questions("test")) == 50
    jargon = {s: sum(t.jargon for t in tickets.load_tickets(s)) for s in ("train", "dev", "test")}
    assert abs(jargon["train"] / 400 - jargon["test"] / 120) < 0.02
    assert abs(jargon["train"] / 400 - jargon["dev"] / 80) < 0.02


def test_cases_become_documents() -> None:
    documents = case_documents()
    assert len(documents) == 120
    law = {case.id: case for case in real()["cases"]}
    for document in documents:
        case = law[document.doc_id]
        assert document.text.startswith(f"# {case.name} {case.citation}\n")
        assert f"## Rule\n\n{case.rule}\n" in document.text
        assert document.metadata["title"] == f"{case.name} {case.citation}"


@cache
def builder(name: str) -> ModuleType:
    path = files.DATASETS / name / "build.py"
    spec = importlib.util.spec_from_file_location(f"build_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SETS)
def test_the_build_reproduces_the_files_and_the_card(name: str, tmp_path: Path) -> None:
    build = builder(name)
    build.build(tmp_path)
    for file in build.FILES:
        assert (tmp_path / file).read_bytes() == (files.DATASETS / name / file).read_bytes()
    card = files.DATASETS / name / "README.md"
    assert building.built_part(card) == build.statistics(tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_the_example_of_a_card_is_a_line_of_its_files(name: str) -> None:
    card = (files.DATASETS / name / "README.md").read_text(encoding="utf8")
    example = json.loads(card.split("```json\n")[1].split("```")[0])
    lines = [
        json.loads(line)
        for file in builder(name).FILES
        for line in (files.DATASETS / name / file).read_text(encoding="utf8").splitlines()
    ]
    assert example in lines
    assert "CC BY 4.0" in card


def test_a_table_changed_by_hand_is_found_and_put_right(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("# Card\n<!-- built -->\n| 1 |\n<!-- /built -->\nend\n")
    assert building.built_part(card) == "| 1 |"
    building.refresh_card(card, r"| \1 |")
    assert card.read_text() == "# Card\n<!-- built -->\n| \\1 |\n<!-- /built -->\nend\n"
    card.write_text("# Card\n")
    with pytest.raises(CorpusError, match="needs one <!-- built -->"):
        building.refresh_card(card, "")


def test_splits_follow_the_strata() -> None:
    strata = {f"x{n}": "ab"[n % 2] for n in range(60)}
    splits = building.assign_splits(strata, {"train": 40, "test": 20})
    assert Counter(splits.values()) == {"train": 40, "test": 20}
    assert sum(splits[x] == "test" for x in strata if strata[x] == "a") == 10
    assert splits == building.assign_splits(
        dict(reversed(strata.items())), {"train": 40, "test": 20}
    )
    with pytest.raises(CorpusError, match="hold 3 items, but there are 60"):
        building.assign_splits(strata, {"train": 3})


def test_bad_sources_give_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds nothing to build from"):
        building.read_yaml(tmp_path)
    (tmp_path / "a.yaml").write_text("- id: a\n- [b\n- c: d\n")
    with pytest.raises(CorpusError, match=r"a\.yaml, line \d: not valid YAML"):
        building.read_yaml(tmp_path)
    with pytest.raises(CorpusError, match=r"a\.yaml, ea-001: the field 'must' is missing"):
        item = {"id": "ea-001", "situation": "delay", "brief": "customer: X"}
        builder("emails").record(Path("a.yaml"), item)
    with pytest.raises(CorpusError, match=r"a\.yaml, an item: the field 'id' is missing"):
        builder("cases").fields(Path("a.yaml"), {}, ("id",))


@pytest.mark.parametrize(
    ("name", "load", "line", "sentence"),
    [
        ("emails/approved.jsonl", emails.load_emails, "{", "line 1: not valid JSON"),
        ("emails/approved.jsonl", emails.load_emails, "{}", "line 1: the field 'brief' is missing"),
        ("tickets/tickets.jsonl", tickets.load_tickets, "[]", "line 1: expected a JSON object"),
        (
            "tickets/tickets.jsonl",
            tickets.load_tickets,
            "{}",
            "line 1: the fields are not those of",
        ),
        ("cases/cases.jsonl", load_cases, '{"id": "x"}', "the fields are not those of Case"),
        ("cases/questions.jsonl", load_case_questions, None, "is not here"),
    ],
)
def test_a_bad_data_file_gives_one_clear_sentence(
    name: str,
    load: Callable[[], Any],
    line: str | None,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for task, folder in ((emails, "emails"), (tickets, "tickets"), (law_task, "cases")):
        monkeypatch.setattr(task, "_FOLDER", tmp_path / folder)
    if line is not None:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(line + "\n")
    with pytest.raises(CourseError, match=sentence):
        load()
