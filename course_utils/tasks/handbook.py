"""The engineering wiki: its questions, its facts that change, and lessons in reading it.

Notebooks 01 to 08.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from llama_index.core import Document
from llama_index.core.schema import BaseNode, NodeWithScore

from course_utils.evaluate.correctness import (
    contains_answer,
    evaluate_answers,
)
from course_utils.files import DATASETS, in_repository
from course_utils.generate.citing import Answer, cited_page
from course_utils.generate.prompting import Chat, source_text
from course_utils.search.documents import (
    CorpusError,
    Question,
    Span,
    json_lines,
    make_document,
    page_of,
    split_front_matter,
)
from course_utils.tasks.common import Scores, context_chat, groups, turns


def load_handbook(week: int = 1) -> list[Document]:
    """The engineering wiki as it stood in a week.

    Args:
        week: 1 or 2. Week 2 is week 1 with its changed and new pages laid over and the removed
            ones taken away.

    Returns:
        Documents sorted by id. ``metadata`` has title, space, owner, updated and path.
    """
    if week not in (1, 2):
        raise CorpusError(f"The handbook has weeks 1 and 2, not {week!r}.")
    folder = in_repository(DATASETS / "handbook")
    pages = {page.doc_id: page for page in _read_pages(folder / "week1")}
    if week == 2:
        pages |= {page.doc_id: page for page in _read_pages(folder / "week2")}
        for removed in (folder / "week2" / "removed.txt").read_text().split():
            del pages[removed]
    return [pages[page_id] for page_id in sorted(pages)]


def load_questions(
    split: str | None = None, kind: str | None = None, week: int = 1
) -> list[Question]:
    """The handbook's questions.

    Args:
        split: "train", "dev" or "test"; all when None.
        kind: one of the data card's kinds; "everyday" for all kinds that begin so, "stress" for
            all others, which are much harder; all when None.
        week: whose answers and spans; they differ for questions of kind "changed".
    """
    folder = in_repository(DATASETS / "handbook")
    questions = [_question(record, week) for _, record in json_lines(folder / "questions.jsonl")]
    return [
        question
        for question in questions
        if split in (None, question.split) and _is_of(question, kind)
    ]


def _is_of(question: Question, kind: str | None) -> bool:
    everyday = question.kind.startswith("everyday")
    return kind in (None, question.kind) or kind == ("everyday" if everyday else "stress")


def _question(record: dict[str, Any], week: int) -> Question:
    record = record | (record.get("week2") or {} if week == 2 else {})
    return Question(
        id=record["id"],
        text=record["question"],
        kind=record["kind"],
        split=record["split"],
        answer=record["answer"],
        accepted=tuple(record["accepted"]),
        gold=tuple(Span(span["page"], span["start"], span["end"]) for span in record["gold"]),
        grades=record["grades"],
    )


def _read_pages(folder: Path) -> Iterator[Document]:
    for path in sorted(folder.rglob("*.md")):
        header, text = split_front_matter(path.read_text(encoding="utf8"), path)
        yield make_document(header["id"], text, header | {"path": str(path.relative_to(DATASETS))})


def sample_of_kinds(questions: Sequence[Question], n: int) -> list[Question]:
    """The same n questions each time, of every kind about as large a share as there is.

    Args:
        questions: at least n.
        n: how many.
    """
    ordered = sorted(questions, key=lambda question: (question.kind, question.id))
    return [ordered[place * len(ordered) // n] for place in range(n)]


def load_follow_ups(split: str) -> list[tuple[Question, Chat]]:
    """Everyday questions as the second question of a conversation.

    Args:
        split: "dev" or "test".

    Returns:
        Each question with the follow-up as its text ("and who approves it"), and the conversation,
        which ends with it.
    """
    path = in_repository(DATASETS / "handbook" / "follow_ups.yaml")
    questions = {question.id: question for question in load_questions(split, "everyday")}
    pairs = []
    for entry in yaml.safe_load(path.read_text(encoding="utf8")):
        if entry["id"] in questions:
            roles = {"before": "user", "said": "assistant", "text": "user"}
            chat = [{"role": role, "content": entry[part]} for part, role in roles.items()]
            pairs.append((replace(questions[entry["id"]], text=entry["text"]), chat))
    return pairs


def fact_chat(question: str, answer: str | None = None) -> Chat:
    """A question without sources."""
    return turns("Answer in a few words.", question, answer)


def facts_with_paraphrases() -> list[tuple[Question, Question, list[str]]]:
    """The facts that change: as of week 1, as of week 2, and four other ways to ask."""
    text = in_repository(DATASETS / "handbook" / "paraphrases.yaml").read_text(encoding="utf8")
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


READ = "Answer from the sources and name the source, or say that it is not in them."
NOT_FOUND = "Not in the sources."


def reading_chat(
    questions: Sequence[str], nodes: Sequence[BaseNode], answers: Sequence[str] = ()
) -> Chat:
    """Numbered sources, and questions below them; see ``turns_on``."""
    texts = [source_text(NodeWithScore(node=node)) for node in nodes]
    sources = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))
    return context_chat(READ, sources, questions, answers)


def copying_chat(question: str, source: str) -> Chat:
    """The same for one source, and the beginning of an answer to be copied from it."""
    chat = context_chat(READ, f"[1] {source}", [question])
    return [*chat, {"role": "assistant", "content": "It is:"}]


def read_answer(text: str, hits: Sequence[NodeWithScore]) -> Answer:
    """What a reader wrote ("28 minutes [2]"), as an answer with its page; a refusal is empty."""
    if text.strip().startswith(NOT_FOUND.rstrip(".")):
        return Answer("")
    return Answer(re.sub(r"\s*\[\d+\]\.?", "", text).strip(), cited_page(text, hits))


def answering(question: Question, hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """Those of some nodes that hold the right answer in its place."""
    return [hit for hit in hits if question.answerable and contains_answer([hit], question)]


def reading_lessons(
    questions: Sequence[Question],
    hits: Sequence[Sequence[NodeWithScore]],
    nodes: Sequence[BaseNode],
    shown: int = 5,
    together: int = 3,
    present: float = 0.75,
    seed: int = 0,
) -> list[Chat]:
    """Chats to learn reading from: questions about one part of the wiki, below found nodes.

    Args:
        questions: n questions.
        hits: nodes for each, the best first; at least ``shown`` times ``together``.
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
    spaces = [own[0].node.metadata.get("space", "") for own in hits]
    chats = []
    for group in groups(spaces, together, draw):
        kept = [i for i in group if gold[i] and draw.random() < present]
        chosen = {hit.node_id: hit.node for i in kept for hit in gold[i]}
        rest = [hit for rank in zip(*(hits[i] for i in group), strict=False) for hit in rank]
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
    hits: Sequence[Sequence[NodeWithScore]],
) -> Scores:
    """What each answer is: right, refused, citing, citing a page that answers.

    "right" is a refusal where no page answers; "found" says whether the reader had the answer
    before it.
    """
    scores = {
        name: values.tolist() for name, values in evaluate_answers(answers, questions).items()
    }
    pairs = zip(questions, hits, strict=True)
    scores["found"] = [float(q.answerable and contains_answer(own, q)) for q, own in pairs]
    return scores
