"""The chats of the law and the reading task: what is in them, what is kept out, how they score."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from course_utils.generate.citing import Answer
from course_utils.generate.prompting import Chat
from course_utils.models.generator import LanguageModel
from course_utils.search.documents import Question, Span
from course_utils.tasks import common, handbook, law, law_form
from course_utils.tasks.law import Case, CaseQuestion, load_case_questions, load_cases
from notebooks.experiments import bench
from notebooks.experiments import law as law_experiment

CASES = load_cases()
KNOWN = {case.id: case for case in CASES}
TRAIN, DEV, TEST = (load_case_questions(split) for split in ("train", "dev", "test"))


@pytest.fixture(scope="module")
def ranked() -> list[list[Case]]:
    return law.find_cases([q.question for q in TRAIN], CASES)


def turns(chat: Chat) -> list[tuple[str, str]]:
    """The questions and answers of a chat."""
    said = [message["content"] for message in chat[1:]]
    return list(zip(said[::2], said[1::2], strict=True))


# --- law ------------------------------------------------------------------------------------------


def test_a_context_is_said_once_and_each_question_below_it() -> None:
    chat = common.context_chat("Do.", "It is cold.", ["Why?", "When?"], ["So.", "Now."])
    assert [message["role"] for message in chat] == ["system", *["user", "assistant"] * 2]
    assert chat[1]["content"] == "It is cold.\n\nQuestion: Why?"
    assert chat[3]["content"] == "Question: When?"
    assert common.context_chat("Do.", "", ["Why?"])[1:] == [
        {"role": "user", "content": "Question: Why?"}
    ]


def test_the_search_finds_no_overruled_case_and_the_old_one_no_new_one() -> None:
    texts = [question.question for question in DEV]
    now, then = (law.find_cases(texts, CASES, overruled) for overruled in (False, True))
    assert not any(case.overruled_by for found in now for case in found)
    assert not any(case.overrules for found in then for case in found)
    assert any(case.overruled_by for found in then for case in found)
    for found in (*now, *then):
        assert len({case.id for case in found}) == len(found)
    held = [q.case in {c.id for c in f[:5]} for q, f in zip(DEV, now, strict=True) if q.case]
    assert sum(held) / len(held) > 0.6


@pytest.mark.parametrize("split", [TRAIN, DEV, TEST], ids=["train", "dev", "test"])
def test_right_answers_get_full_marks_and_others_none(split: list[CaseQuestion]) -> None:
    right = law.score_law([q.answer for q in split], split, CASES, [CASES] * len(split))
    assert {part: set(values) for part, values in right.items() if part != "old"} == {
        part: {1.0} for part in right if part != "old"
    }
    assert set(right["old"]) == {0.0}
    wrong = law.score_law(["I am not sure."] * len(split), split, CASES)
    assert {value for values in wrong.values() for value in values[:1]} == {0.0}
    assert wrong["found"] == [float(not q.case) for q in split]


def test_before_the_ruling_the_old_case_was_the_answer() -> None:
    changed = 0
    for question in [*TRAIN, *DEV, *TEST]:
        before = law.before_overruling(question, CASES)
        assert law_form.complaints(before.answer) == []
        new = KNOWN.get(question.case)
        if new is None or not new.overrules:
            assert before == question
            continue
        changed += 1
        old = KNOWN[new.overrules]
        assert law_form.check_legal_answer(before.answer, question.answer).case is False
        assert old.citation in before.answer and old.rule in before.answer
        assert new.citation not in before.answer
        scores = law.score_law([before.answer], [question], CASES)
        assert (scores["old"], scores["case"]) == ([1.0], [0.0])
    assert changed == 64


def test_lessons_show_the_controlling_case_or_say_that_none_decides(
    ranked: list[list[Case]],
) -> None:
    of_text = {f"Question: {q.question}": q for q in TRAIN}
    seen: list[str] = []
    missing = 0
    for chat in law.law_lessons(TRAIN, ranked):
        heads, _, _ = chat[1]["content"].partition("\n\nQuestion: ")
        assert len(heads.splitlines()) == 5
        for asked, answer in turns(chat):
            question = of_text["Question: " + asked.rpartition("Question: ")[2]]
            seen.append(question.id)
            assert law_form.complaints(answer) == []
            if not question.case or law.headnote(KNOWN[question.case]) in heads:
                assert answer == question.answer
            else:
                assert answer == law.no_case_answer(question)
                missing += 1
    assert sorted(seen) == sorted(question.id for question in TRAIN)
    assert 0.1 < missing / len(TRAIN) < 0.3


def test_many_questions_on_one_context_bring_their_cases_and_no_others(
    ranked: list[list[Case]],
) -> None:
    for chat in law.law_lessons(TRAIN, ranked, together=12):
        assert 5 <= len(chat[1]["content"].partition("\n\nQuestion: ")[0].splitlines()) <= 12


def test_other_seeds_make_other_lessons(ranked: list[list[Case]]) -> None:
    one, other, again = (law.law_lessons(TRAIN, ranked, seed=seed) for seed in (0, 1, 0))
    assert one == again and one != other


def test_no_question_of_the_test_is_learned(ranked: list[list[Case]]) -> None:
    text = str(law_experiment._law_lessons(TRAIN, ranked)) + str(
        [law_experiment._closed(q) for q in TRAIN]
    )
    assert TRAIN[0].question in text or repr(TRAIN[0].question)[1:-1] in text
    for question in [*DEV, *TEST]:
        assert question.question[:60] not in text.replace("\\'", "'")


def test_the_controlling_case_can_be_put_among_those_found() -> None:
    question = next(q for q in DEV if q.case)
    found = [case for case in CASES if case.id != question.case][:5]
    made = law.with_controlling(found, question, CASES)
    assert (made[:4], made[4].id, len(made)) == (found[:4], question.case, 5)
    assert law.with_controlling(made, question, CASES) == made
    nowhere = next(q for q in DEV if not q.case)
    assert law.with_controlling(found, nowhere, CASES) == found


# --- reading --------------------------------------------------------------------------------------


def node(page: str, text: str, start: int = 0) -> TextNode:
    return TextNode(
        id_=f"{page}:{start}",
        text=text,
        start_char_idx=start,
        end_char_idx=start + len(text),
        metadata={"title": page.title(), "space": "tests"},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=page)},
    )


def hits(*nodes: TextNode) -> list[NodeWithScore]:
    return [NodeWithScore(node=each, score=1.0) for each in nodes]


KIT = node("kit", "| Thing | Number |\n|---|---|\n| scanners | 62 |\n| **printers** | 11 |")
SERVICE = node("lampd", "port: 7117   # as everywhere\npeak (5 min)   61,000\n- *Owner:* Keel")
PROSE = node("prose", "The desk opens at nine. It closes at five.")
NINE = Question("q1", "When does it open?", answer="nine", gold=(Span("prose", 0, 23),))
NEVER = Question("q2", "When is the fair?")


def test_what_a_reader_writes_is_taken_apart() -> None:
    found = hits(KIT, PROSE)
    assert handbook.read_answer("at nine [2]", found) == Answer("at nine", "prose")
    assert handbook.read_answer("at nine [2].", found) == Answer("at nine", "prose")
    assert handbook.read_answer("62", found) == Answer("62", None)
    assert handbook.read_answer("62 [7]", found) == Answer("62", None)
    assert handbook.read_answer(" Not in the sources", found).refused


def test_reading_is_scored_by_what_was_said_and_where_it_was_read() -> None:
    found = [hits(KIT, PROSE), hits(PROSE), hits(KIT), hits(KIT)]
    said = [Answer("at nine", "prose"), Answer("", None), Answer("at ten", "kit"), Answer("1")]
    scores = handbook.score_reading(said, [NINE, NEVER, NINE, NEVER], found)
    assert scores == {
        "right": [1, 1, 0, 0],
        "refused": [0, 1, 0, 0],
        "cites": [1, 0, 1, 0],
        "cites gold": [1, 0, 0, 0],
        "found": [1, 0, 0, 0],
    }


def test_rows_are_read_from_tables_lists_and_files() -> None:
    assert handbook.rows_of(KIT.text) == {"scanners": "62", "printers": "11"}
    assert handbook.rows_of(SERVICE.text)["port"] == "7117"
    assert handbook.rows_of(SERVICE.text)["Owner"] == "Keel"
    assert handbook.rows_of(PROSE.text) == {}
    assert handbook.rows_of("turn   Primary     Warm desk") == {}


def answers_stand(chats: Sequence[Chat]) -> tuple[int, int]:
    """Check that each answer is in the source it names; how many are given and refused."""
    given = refused = 0
    for chat in chats:
        sources = re.split(r"(?:^|\n\n)\[\d+\] ", chat[1]["content"])
        for _, answer in turns(chat):
            made = re.fullmatch(r"(.+) \[(\d+)\]", answer)
            if made is None:
                assert answer == handbook.NOT_FOUND
                refused += 1
            else:
                assert made[1] in sources[int(made[2])]
                given += 1
    return given, refused


def test_lessons_from_questions_cite_the_source_that_answers_or_refuse() -> None:
    desks = [node(f"desk {n}", f"Desk {n} opens at {n + 5}:15 sharp.") for n in range(12)]
    questions = [
        Question(
            f"q{n}",
            f"When does desk {n} open?",
            answer=f"{n + 5}:15",
            gold=(Span(f"desk {n}", 0, 20),),
        )
        for n in range(12)
    ]
    found = [hits(*desks[n:], *desks[:n]) for n in range(12)]
    chats = handbook.reading_lessons(questions, found, desks, shown=4)
    given, refused = answers_stand(chats)
    assert given + refused == 12 and 1 <= refused <= 7
    for chat in chats:
        for asked, answer in turns(chat):
            number = re.findall(r"desk (\d+) open", asked)[-1]
            held = f"Desk {number} opens" in chat[1]["content"]
            assert held == (answer != handbook.NOT_FOUND)


def test_lessons_from_rows_leave_pages_alone_that_are_asked_about_later() -> None:
    lists = [node(f"list {n}", f"| scanners | {n} |\n| printers | {n + 20} |") for n in range(9)]
    chats = handbook.row_lessons(lists, apart={"list 3"}, most=20)
    given, refused = answers_stand(chats)
    assert len(chats) == 20 and given > 60 and refused > 10
    assert "List 3" not in str(chats)
    for chat in chats:
        for asked, answer in turns(chat):
            title = re.findall(r"List \d", asked.rpartition("Question: ")[2])[0]
            assert (answer == handbook.NOT_FOUND) == (f"] {title}\n" not in chat[1]["content"])


# --- the experiment -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_arms_of_the_law_experiment_run_with_any_model(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "load_generator", lambda: llm)
    done: dict[str, Any] = {
        label: arm() for label, arm in law_experiment.law_experiment(bench.Bench(small=True))
    }
    assert len(done) == 10
    for label, made in done.items():
        assert {len(values) for values in made["scores"].values()} == {2}, label
    new = done["LoRA before, RAG, new index"]["scores"]
    assert sum(new["found old"]) == 0 and sum(new["found new"]) > 0
