"""The legal desk, the task of the hybrid: loader, search, prompts, scores. Notebook 07.

The form of its answers is in ``law_form``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from llama_index.core import Document

from course_utils.files import DATASETS, in_repository
from course_utils.generate.prompting import Chat
from course_utils.search.documents import json_lines, make_document
from course_utils.search.retrieval import BM25Retriever
from course_utils.tasks.common import Scores, context_chat, groups, typed_record
from course_utils.tasks.law_form import CONCLUSIONS, NO_RULE, check_legal_answer

_FOLDER = DATASETS / "cases"


@cache
def house_form() -> str:
    """The page on the form that the desk's answers have."""
    return in_repository(_FOLDER / "citation_style.md").read_text(encoding="utf8")


@dataclass(frozen=True)
class Case:
    """A decided case; ``overrules`` and ``overruled_by`` are ids of cases, or empty."""

    id: str
    name: str
    court: str
    year: int
    citation: str
    topic: str
    facts: str
    holding: str
    rule: str
    outcome: str
    overrules: str = ""
    overruled_by: str = ""


@dataclass(frozen=True)
class CaseQuestion:
    """A legal question; ``case`` is the id of the controlling case, empty when none decides it.

    ``outcome`` is claimant, carrier or none; ``answer`` has the four lines of the house form.
    """

    id: str
    split: str
    question: str
    case: str
    outcome: str
    answer: str


def load_cases() -> list[Case]:
    """The case summaries of the Straits, overruled ones included."""
    lines = json_lines(in_repository(_FOLDER / "cases.jsonl"))
    return [typed_record(Case, record, where) for where, record in lines]


def case_documents() -> list[Document]:
    """The cases as Markdown pages, as a search would index them.

    A page does not say that its case was overruled later: as in a real law report, only the
    later case says so.
    """
    return [
        make_document(
            case.id,
            f"# {case.name} {case.citation}\n\n{COURTS[case.court]}, {case.year}\n\n"
            f"## Facts\n\n{case.facts}\n\n## Holding\n\n{case.holding}\n\n## Rule\n\n{case.rule}\n",
            {
                "title": f"{case.name} {case.citation}",
                "court": case.court,
                "year": case.year,
                "topic": case.topic,
            },
        )
        for case in load_cases()
    ]


def load_case_questions(split: str | None = None) -> list[CaseQuestion]:
    """The questions on the cases.

    Args:
        split: "train", "dev" or "test"; all when None.
    """
    lines = json_lines(in_repository(_FOLDER / "questions.jsonl"))
    questions = [typed_record(CaseQuestion, record, where) for where, record in lines]
    return [question for question in questions if split in (None, question.split)]


COURTS = {"HC": "Harbour Court", "CC": "Court of Carriage", "HB": "High Bench"}  # low to high
DESK = "Answer as the legal desk does."


def find_cases(
    questions: Sequence[str], cases: Sequence[Case], overruled: bool = False
) -> list[list[Case]]:
    """All cases for each question, the best first, by BM25 over their pages.

    Where an overruled case is found, the case that overruled it stands in its place: that is what
    a citator does for lawyers.

    Args:
        questions: n questions.
        cases: the collection.
        overruled: search the collection as it stood before any overruling.
    """
    known = {case.id: case for case in cases}
    pages = case_documents()
    if overruled:
        pages = [page for page in pages if not known[page.node_id].overrules]
    ranked = []
    for hits in BM25Retriever(pages).search(questions, len(pages)):
        ids = [hit.node_id if overruled else in_force(known, hit.node_id) for hit in hits]
        ranked.append([known[id] for id in dict.fromkeys(ids)])
    return ranked


def in_force(known: Mapping[str, Case], id: str) -> str:
    """The case that took a case's place, or the case itself."""
    while known[id].overruled_by:
        id = known[id].overruled_by
    return id


def headnote(case: Case) -> str:
    """A case in one line: a whole page is too long to put five of them into an example."""
    return f"{case.name} {case.citation}. {case.rule} Won: the {case.outcome}."


def law_chat(
    questions: Sequence[str], found: Sequence[Case] = (), answers: Sequence[str] = ()
) -> Chat:
    """Headnotes, if any, and questions below them; see ``turns_on``."""
    return context_chat(DESK, "\n".join(map(headnote, found)), questions, answers)


def instructed_law_chat(question: str, found: Sequence[Case] = ()) -> Chat:
    """The same with the whole page on the house form in front: what prompting can do."""
    return [{"role": "system", "content": house_form()}, *law_chat([question], found)[1:]]


def before_overruling(question: CaseQuestion, cases: Sequence[Case]) -> CaseQuestion:
    """A question as it was answered before its case overruled another one."""
    known = {case.id: case for case in cases}
    new = known.get(question.case)
    if new is None or not new.overrules:
        return question
    old = known[new.overrules]
    answer = "\n".join(
        [
            question.answer.splitlines()[0],
            f"Rule: {old.rule} {old.name} {old.citation}.",
            f"Application: The facts are like those of {old.name}, and so is the result.",
            f"Conclusion: {CONCLUSIONS[old.outcome]}",
        ]
    )
    return replace(question, case=old.id, outcome=old.outcome, answer=answer)


def no_case_answer(question: CaseQuestion) -> str:
    """The honest answer where the controlling case is not before the reader."""
    issue = question.answer.splitlines()[0]
    application = "Application: None of the cases found is about such facts."
    return f"{issue}\nRule: {NO_RULE}\n{application}\nConclusion: {CONCLUSIONS['none']}"


def law_lessons(
    questions: Sequence[CaseQuestion],
    ranked: Sequence[Sequence[Case]],
    shown: int = 5,
    together: int = 3,
    present: float = 0.8,
    seed: int = 0,
) -> list[Chat]:
    """Chats to learn reading from: questions on one topic, below what was found for them.

    Args:
        questions: n questions.
        ranked: all cases for each, the best first.
        shown: headnotes in a chat; more, where more controlling cases have to be among them.
        together: questions in a chat.
        present: share of the questions whose controlling case is among the headnotes; the others
            are answered with "No case …".
        seed: another one groups and leaves out others.
    """
    draw = random.Random(seed)
    places = [{case.id: place for place, case in enumerate(cases)} for cases in ranked]
    chats = []
    for group in groups([cases[0].topic for cases in ranked], together, draw):
        wanted = {questions[i].case for i in group} - {""}
        kept = {id for id in sorted(wanted) if draw.random() < present}
        known = {case.id: case for i in group for case in ranked[i]}
        best = {id: min(places[i].get(id, len(known)) for i in group) for id in known}
        others = sorted(set(known) - wanted, key=lambda id: (best[id], id))
        chosen = sorted(
            [*kept, *others[: max(shown - len(kept), 0)]], key=lambda id: (best[id], id)
        )
        answers = [
            questions[i].answer
            if questions[i].case in {*kept, ""}
            else no_case_answer(questions[i])
            for i in group
        ]
        found = [known[id] for id in chosen]
        chats.append(law_chat([questions[i].question for i in group], found, answers))
    return chats


def with_controlling(
    found: Sequence[Case], question: CaseQuestion, cases: Sequence[Case]
) -> list[Case]:
    """The cases found, with the controlling one in the last place if it is not among them."""
    gold = [case for case in cases if case.id == question.case and case not in found]
    return [*found[:-1], *gold] if gold else list(found)


def score_law(
    texts: Sequence[str],
    questions: Sequence[CaseQuestion],
    cases: Sequence[Case],
    found: Sequence[Sequence[Case]] = (),
) -> Scores:
    """Each part of each answer, "all" of them at once, and what goes with them.

    "found" says whether the controlling case was before the reader (1 where none decides), "old"
    whether the answer cites the case that was overruled.
    """
    known = {case.id: case for case in cases}
    checks = [check_legal_answer(text, q.answer) for text, q in zip(texts, questions, strict=True)]
    parts = ("structure", "case", "name", "rule", "conclusion", "right")
    scores = {part: [float(getattr(check, part)) for check in checks] for part in parts}
    scores["all"] = [float(all(vars(check).values())) for check in checks]
    shown = [{case.id for case in each} for each in found] or [set() for _ in questions]
    pairs = zip(shown, questions, strict=True)
    scores["found"] = [float(not q.case or q.case in ids) for ids, q in pairs]
    scores["old"] = []
    for text, question in zip(texts, questions, strict=True):
        old = known[question.case].overrules if question.case else ""
        scores["old"].append(float(bool(old) and known[old].citation in text))
    return scores
