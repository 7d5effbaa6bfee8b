"""What the fine-tuning notebooks ask of a model: the chats of each task, and how answers score.

Tickets are a format, e-mails a voice, facts are knowledge; law and reading need both a form and
what was found.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import yaml
from llama_index.core.schema import BaseNode, NodeWithScore

from course_utils.corpus import (
    DATASETS,
    Case,
    CaseQuestion,
    EmailBrief,
    Question,
    Ticket,
    case_documents,
    load_questions,
    page_of,
)
from course_utils.evaluation import bears_answer, cites_gold, is_correct
from course_utils.formats import cases as law
from course_utils.formats import emails, tickets
from course_utils.generation import Answer, Chat, cited_page, source_text
from course_utils.retrieval import BM25Retriever

SCHEMA: dict[str, Any] = json.loads(tickets.SCHEMA.read_text(encoding="utf8"))
NOTATION = (DATASETS / "tickets" / "notation.md").read_text(encoding="utf8")
GUIDE = (DATASETS / "emails" / "style_guide.md").read_text(encoding="utf8")
HOUSE_FORM = (DATASETS / "cases" / "citation_style.md").read_text(encoding="utf8")
Scores = dict[str, list[float]]


def turns(system: str, user: str, answer: str | None = None) -> Chat:
    """A chat of one question, with its answer when there is one to learn from."""
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return chat if answer is None else [*chat, {"role": "assistant", "content": answer}]


# --- tickets --------------------------------------------------------------------------------------

TICKET = "Turn the customer's message into a ticket, as JSON."


def ticket_chat(ticket: Ticket, learned: bool = False) -> Chat:
    """What the adapter sees: a message below one line, and the ticket when it is to be learned."""
    answer = tickets.to_json(ticket.ticket) if learned else None
    return turns("Write the ticket.", ticket.message, answer)


def instructed_chat(ticket: Ticket) -> Chat:
    """The whole page of rules and the schema in front of the message."""
    rules = f"{TICKET} Answer with one JSON object that fits this schema and nothing else."
    return turns(f"{NOTATION}\n\n{rules}\n\n{json.dumps(SCHEMA)}", ticket.message)


def few_shot(system: str, shots: Sequence[Chat], asked: Chat) -> Chat:
    """Examples as earlier turns of the same chat."""
    earlier = [message for shot in shots for message in shot[1:]]
    return [{"role": "system", "content": system}, *earlier, *asked[1:]]


def score_tickets(texts: Sequence[str], gold: Sequence[Ticket]) -> Scores:
    """Valid, exactly right, and F1 over the fields, of each ticket."""
    checks = [tickets.check(text, fences=True) for text in texts]
    pairs = [(check.ticket, right.ticket) for check, right in zip(checks, gold, strict=True)]
    return {
        "valid": [float(check.valid) for check in checks],
        "exact": [float(tickets.exact_match(*pair)) for pair in pairs],
        "f1": [round(tickets.field_f1(*pair), 4) for pair in pairs],
    }


# --- e-mails --------------------------------------------------------------------------------------

EMAIL = "Write the e-mail to the customer from these notes."
RULES = re.findall(r"(?m)^\d+\. .+$", GUIDE)


def email_chat(brief: EmailBrief, learned: bool = False) -> Chat:
    """What the adapter sees: a brief below one line, and the e-mail when it is to be learned."""
    return turns("Write the e-mail.", brief.brief, brief.email if learned else None)


def guided_chat(brief: EmailBrief, rules: Sequence[str]) -> Chat:
    """The rules of the style guide in front of the brief."""
    lines = "\n".join(rules)
    return turns("Write e-mails that keep all the rules.", f"{EMAIL}\n\n{lines}\n\n{brief.brief}")


def score_emails(texts: Sequence[str], briefs: Sequence[EmailBrief]) -> Scores:
    """Each rule, all of them, their share, and the brief's facts, of each e-mail."""
    pairs = list(zip(texts, briefs, strict=True))
    kept = [emails.check(text, brief.fields) for text, brief in pairs]
    carried = [emails.carries(text, brief.must) for text, brief in pairs]
    return {
        "rules": [float(np.mean(list(each.values()))) for each in kept],
        "all rules": [float(all(each.values())) for each in kept],
        "facts": [round(float(np.mean(each)), 4) for each in carried],
        "all facts": [float(all(each)) for each in carried],
        **{rule: [float(each[rule]) for each in kept] for rule in emails.RULES},
    }


# --- knowledge ------------------------------------------------------------------------------------


def fact_chat(question: str, answer: str | None = None) -> Chat:
    """A question without sources."""
    return turns("Answer in a few words.", question, answer)


def facts_with_paraphrases() -> list[tuple[Question, Question, list[str]]]:
    """The facts that change: as of week 1, as of week 2, and four other ways to ask."""
    text = (DATASETS / "handbook" / "paraphrases.yaml").read_text(encoding="utf8")
    weeks = [{q.id: q for q in load_questions(kind="changed", week=week)} for week in (1, 2)]
    return [(weeks[0][i], weeks[1][i], asked) for i, asked in yaml.safe_load(text).items()]


def four_options(facts: Sequence[tuple[Question, Question, Any]], place: int) -> list[str]:
    """The answer of week 1, that of week 2, and two of other facts, of the same form if possible.

    "20 minutes" stands beside other minutes, a date beside dates.
    """
    old, new, _ = facts[place]
    others = [*facts[place + 1 :], *facts[:place]]
    answers = dict.fromkeys(q.answer for one, two, _ in others for q in (one, two))
    wrong = [answer for answer in answers if answer not in (old.answer, new.answer)]
    form = _form(old.answer)
    wrong.sort(key=lambda a: (_form(a) != form, _form(a).startswith("0") != form.startswith("0")))
    return [old.answer, new.answer, *wrong[:2]]


def _form(answer: str) -> str:
    return re.sub(r"[A-Z]\w+", "Name", re.sub(r"\d+([,.]\d+)?", "0", answer))


# --- several questions on one context -------------------------------------------------------------


def turns_on(
    system: str, context: str, questions: Sequence[str], answers: Sequence[str] = ()
) -> Chat:
    """A context once, and one question after the other below it.

    Args:
        system: the instruction.
        context: what was found; empty for closed book.
        questions: n questions.
        answers: none for a single question to be answered, or all n, to learn from.
    """
    chat = [{"role": "system", "content": system}]
    for turn, (question, answer) in enumerate(zip_longest(questions, answers)):
        asked = f"Question: {question}"
        content = f"{context}\n\n{asked}" if context and turn == 0 else asked
        chat.append({"role": "user", "content": content})
        if answer is not None:
            chat.append({"role": "assistant", "content": answer})
    return chat


def _groups(subjects: Sequence[str], most: int, draw: random.Random) -> list[list[int]]:
    """Places with their likes, shuffled among them, so many at a time."""
    line = sorted(range(len(subjects)), key=lambda i: (subjects[i], draw.random()))
    return [line[at : at + most] for at in range(0, len(line), most)]


# --- law ------------------------------------------------------------------------------------------

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
    return turns_on(DESK, "\n".join(map(headnote, found)), questions, answers)


def instructed_law_chat(question: str, found: Sequence[Case] = ()) -> Chat:
    """The same with the whole page on the house form in front: what prompting can do."""
    return [{"role": "system", "content": HOUSE_FORM}, *law_chat([question], found)[1:]]


def as_before(question: CaseQuestion, cases: Sequence[Case]) -> CaseQuestion:
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
            f"Conclusion: {law.CONCLUSIONS[old.outcome]}",
        ]
    )
    return replace(question, case=old.id, outcome=old.outcome, answer=answer)


def unfounded(question: CaseQuestion) -> str:
    """The honest answer where the controlling case is not before the reader."""
    issue = question.answer.splitlines()[0]
    application = "Application: None of the cases found is about such facts."
    return f"{issue}\nRule: {law.NO_RULE}\n{application}\nConclusion: {law.CONCLUSIONS['none']}"


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
    for group in _groups([cases[0].topic for cases in ranked], together, draw):
        wanted = {questions[i].case for i in group} - {""}
        kept = {id for id in sorted(wanted) if draw.random() < present}
        known = {case.id: case for i in group for case in ranked[i]}
        best = {id: min(places[i].get(id, len(known)) for i in group) for id in known}
        others = sorted(set(known) - wanted, key=lambda id: (best[id], id))
        chosen = sorted(
            [*kept, *others[: max(shown - len(kept), 0)]], key=lambda id: (best[id], id)
        )
        answers = [
            questions[i].answer if questions[i].case in {*kept, ""} else unfounded(questions[i])
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
    checks = [law.check(text, q.answer) for text, q in zip(texts, questions, strict=True)]
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


# --- reading --------------------------------------------------------------------------------------

READ = "Answer from the sources and name the source, or say that it is not in them."
NOT_FOUND = "Not in the sources."


def reading_chat(
    questions: Sequence[str], nodes: Sequence[BaseNode], answers: Sequence[str] = ()
) -> Chat:
    """Numbered sources, and questions below them; see ``turns_on``."""
    texts = [source_text(NodeWithScore(node=node)) for node in nodes]
    sources = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))
    return turns_on(READ, sources, questions, answers)


def copying_chat(question: str, source: str) -> Chat:
    """The same for one source, and the beginning of an answer to be copied from it."""
    chat = turns_on(READ, f"[1] {source}", [question])
    return [*chat, {"role": "assistant", "content": "It is:"}]


def read_answer(text: str, nodes: Sequence[NodeWithScore]) -> Answer:
    """What a reader wrote ("28 minutes [2]"), as an answer with its page; a refusal is empty."""
    if text.strip().startswith(NOT_FOUND.rstrip(".")):
        return Answer("")
    return Answer(re.sub(r"\s*\[\d+\]\.?", "", text).strip(), cited_page(text, nodes))


def answering(question: Question, hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """Those of some nodes that hold the right answer in its place."""
    return [hit for hit in hits if question.answerable and bears_answer([hit], question)]


def reading_lessons(
    questions: Sequence[Question],
    found: Sequence[Sequence[NodeWithScore]],
    nodes: Sequence[BaseNode],
    shown: int = 5,
    together: int = 3,
    present: float = 0.75,
    seed: int = 0,
) -> list[Chat]:
    """Chats to learn reading from: questions about one part of the wiki, below found nodes.

    Args:
        questions: n questions.
        found: nodes for each, the best first; at least ``shown`` times ``together``.
        nodes: all nodes, among them those that answer.
        shown: nodes in a chat.
        together: questions in a chat.
        present: share of the questions whose answer is put among the nodes; of the others, the
            answer is kept out.
        seed: another one groups and leaves out others.
    """
    draw = random.Random(seed)
    everything = [NodeWithScore(node=node) for node in nodes]
    gold = [answering(question, everything)[:1] for question in questions]
    spaces = [hits[0].node.metadata.get("space", "") for hits in found]
    chats = []
    for group in _groups(spaces, together, draw):
        kept = [i for i in group if gold[i] and draw.random() < present]
        chosen = {hit.node_id: hit.node for i in kept for hit in gold[i]}
        rest = [hit for rank in zip(*(found[i] for i in group), strict=False) for hit in rank]
        for hit in rest:
            if len(chosen) < shown and not any(answering(questions[i], [hit]) for i in group):
                chosen[hit.node_id] = hit.node
        sources = draw.sample(list(chosen.values()), len(chosen))
        answers = []
        for i in group:
            number = sources.index(gold[i][0].node) + 1 if i in kept else 0
            answers.append(f"{questions[i].answer} [{number}]" if number else NOT_FOUND)
        chats.append(reading_chat([questions[i].text for i in group], sources, answers))
    return chats


ROW = re.compile(
    r"(?m)^(?:\| (?P<a>[^|\n]{3,40}?) +\| (?P<b>[^|\n]{1,40}?) +\|$(?!\n\|-)"  # | scanners | 62 |
    r"|- \*(?P<c>[^*:\n]{3,40}):\* (?P<d>[^;\n]{1,40})$"  # - *Owner:* Keel
    r"|(?P<e>[\w.]{3,30}(?: \w+)?)(?:: +| {2,})(?P<f>[^#\n]{1,40}?)(?: +#.*)?$)"  # peak   61,000
)


def rows_of(text: str) -> dict[str, str]:
    """What a text says in the form of a table, a labelled list or a settings file."""
    found = {}
    for match in ROW.finditer(text):
        label, value = [part.strip(" `*") for part in match.groups() if part]
        if re.search(r"[a-z]", label) and re.search(r"\w", value) and "  " not in value:
            found[label] = value
    return found


def row_lessons(
    nodes: Sequence[BaseNode],
    apart: Collection[str],
    most: int,
    shown: int = 4,
    together: int = 6,
    seed: int = 0,
) -> list[Chat]:
    """Chats to learn copying from: what a row of a table says, on pages that look alike.

    One label in ``together`` is asked of a page that is not among the sources, although its
    likes are: the answer is that it is not there.

    Args:
        nodes: all nodes.
        apart: pages that no question may be asked about: those of the dev and test questions.
        most: chats wanted.
        shown: nodes in a chat, all from one space of the wiki.
        together: questions in a chat.
        seed: of the drawing.
    """
    draw = random.Random(seed)
    by_space: dict[str, list[BaseNode]] = {}
    for node in nodes:
        if page_of(node) not in apart and rows_of(node.get_content()):
            by_space.setdefault(node.metadata.get("space", ""), []).append(node)
    spaces = [space for space in sorted(by_space) if len(by_space[space]) > shown]
    chats = []
    for _ in range(most):
        *sources, absent = draw.sample(by_space[draw.choice(spaces)], shown + 1)
        pairs = [
            (node, label, value, number)
            for number, node in enumerate(sources, start=1)
            for label, value in rows_of(node.get_content()).items()
        ]
        asked = draw.sample(pairs, min(together - 1, len(pairs)))
        turns = [(_row_question(draw, node, label), f"{v} [{n}]") for node, label, v, n in asked]
        titles = {node.metadata["title"] for node in sources}
        if absent.metadata["title"] not in titles:
            label = draw.choice([*rows_of(absent.get_content())])
            turns.append((_row_question(draw, absent, label), NOT_FOUND))
        draw.shuffle(turns)
        chats.append(reading_chat([q for q, _ in turns], sources, [a for _, a in turns]))
    return chats


def _row_question(draw: random.Random, node: BaseNode, label: str) -> str:
    form = draw.choice(
        ("{title}, {label}?", "What does {title} say for {label}?", "{label} of {title}?")
    )
    return form.format(title=node.metadata["title"], label=label)


def score_reading(
    answers: Sequence[Answer],
    questions: Sequence[Question],
    found: Sequence[Sequence[NodeWithScore]],
) -> Scores:
    """What each answer is: right, refused, citing, citing a page that answers.

    "right" is a refusal where no page answers; "found" says whether the reader had the answer
    before it.
    """
    rows = list(zip(answers, questions, found, strict=True))
    return {
        "right": [float(is_correct(a, q) if q.answerable else a.refused) for a, q, _ in rows],
        "refused": [float(a.refused) for a, _, _ in rows],
        "cites": [float(a.page is not None) for a, _, _ in rows],
        "cites gold": [float(cites_gold(a, q)) for a, q, _ in rows],
        "found": [float(q.answerable and bears_answer(hits, q)) for _, q, hits in rows],
    }
