"""Deciding: the twenty cases, the doubts, what would change it, the record, and the widgets."""

from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path
from typing import Any

import building
import nbformat
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from course_utils import __main__
from course_utils.decision import costs, deciding, record
from course_utils.decision.deciding import (
    DECISIONS,
    DecisionError,
    checked_answers,
    decide,
    decision_questions,
)
from course_utils.grade import decisions, store
from course_utils.lab import explorers, ledger, running
from course_utils.lab.ledger import load_ledger, measured_claims

NAMES = [question.id for question in decision_questions()]
CASES = {case.id: case for case in deciding.scenarios()}
answer = st.sampled_from(["yes", "no", "unsure"])
all_answers = st.fixed_dictionaries(dict.fromkeys(NAMES, answer))
CLAIM = {
    "id": "S05.update",
    "notebook": "06_x",
    "statement": "Training the facts again takes longer than embedding a week of changes",
    "kind": "measured",
    "value": 12.5,
    "interval": [11.0, 14.0],
    "n": 101,
    "margin": 0.1,
    "verdict": "supported",
    "note": "On two cores.",
    "metric": "times",
    "reference": "above 1",
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSE_ANSWERS", str(tmp_path / "answers"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(**given: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, "no") | given


# --- the rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.id)
def test_each_written_case_comes_out_as_expected(case: deciding.Scenario) -> None:
    made = decide(case.answers)
    assert (made.outcome, made.decided_by) == (case.outcome, case.decided_by)
    assert bool(made.doubts) == case.doubt, made.doubts


def test_the_cases_are_twenty_and_cover_what_can_happen() -> None:
    assert len(CASES) == 20 and {case.outcome for case in CASES.values()} == set(DECISIONS)
    assert {case.decided_by for case in CASES.values()} == {*NAMES, ""}
    assert {case.source for case in CASES.values()} == {"article", "invented"}
    stories = [case.story for case in CASES.values()]
    assert len(set(stories)) == 20 and all(case.why for case in CASES.values())
    assert any("unsure" in case.answers.values() for case in CASES.values())


def test_the_card_has_the_checksums_of_the_files() -> None:
    folder = deciding.SCENARIOS.parent
    files = ("datasets/decisions/scenarios.yaml", "course_utils/decision/costs.yaml")
    stored = building.checksums(folder.parents[1], files)
    assert building.built_part(folder / "README.md").strip() == stored


def test_questions_are_sound() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for question in decision_questions():
        assert question.outcome in DECISIONS and question.ask.endswith("?") and question.evidence
    rules = yaml.safe_load(deciding.RULES_FILE.read_text(encoding="utf8"))
    assert set(rules["next"]) == set(DECISIONS)
    assert all(set(rule["when"]) <= set(NAMES) for rule in rules["conflicts"])


@given(all_answers)
@settings(max_examples=300)
def test_the_first_yes_decides(answers: dict[str, str]) -> None:
    made = decide(answers)
    yeses = [name for name in NAMES if answers[name] == "yes"]
    assert made.decided_by == (yeses[0] if yeses else "")
    later = (
        {**answers, **dict.fromkeys(NAMES[NAMES.index(made.decided_by) + 1 :], "yes")}
        if yeses
        else answers
    )
    assert decide(later).outcome == made.outcome


@given(all_answers)
@settings(max_examples=300)
def test_the_changes_are_exactly_those_that_lead_elsewhere(answers: dict[str, str]) -> None:
    made = decide(answers)
    listed = {change.question: change for change in made.changes}
    for name in NAMES:
        other = {**answers, name: "no" if answers[name] == "yes" else "yes"}
        if decide(other).outcome == made.outcome:
            assert name not in listed
        else:
            assert (listed[name].answer, listed[name].outcome) == (
                other[name],
                decide(other).outcome,
            )


@given(all_answers)
@settings(max_examples=300)
def test_an_open_answer_is_a_doubt_just_when_it_could_turn_the_decision(
    answers: dict[str, str],
) -> None:
    made = decide(answers)
    for number, name in enumerate(NAMES, start=1):
        turned = decide({**answers, name: "yes"}).outcome
        told = any(f"Question {number} ({name}) is open" in doubt for doubt in made.doubts)
        assert told == (answers[name] == "unsure" and turned != made.outcome)


def test_article_rules_hold_for_every_set_of_answers() -> None:
    for values in itertools.product(("yes", "no"), repeat=len(NAMES)):
        answers = dict(zip(NAMES, values, strict=True))
        outcome = decide(answers).outcome
        if answers["changes"] == "yes" or answers["cite"] == "yes":
            assert outcome in ("RAG", "hybrid")
        if outcome == "hybrid":
            assert answers["limits"] == "yes"
        if outcome == "fine-tuning":
            assert answers["untried"] == "no" and "yes" in (answers["form"], answers["volume"])


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        (said(limits="yes", form="yes"), "name no facts"),
        (said(limits="yes", knowledge="yes"), "name nothing that training"),
        (said(limits="yes", knowledge="yes", form="yes", untried="yes"), "but no good prompt"),
        (said(limits="yes", knowledge="yes", form="yes", unable="yes"), "out of reach"),
        (said(changes="yes"), "Facts that change"),
        (said(cite="yes"), "If the answer rests on documents"),
        (said(knowledge="yes", form="yes"), "leads to hybrid"),
        (said(untried="yes", form="yes"), "would make it fine-tuning"),
    ],
)
def test_answers_that_conflict_raise_a_doubt(answers: dict[str, str], word: str) -> None:
    (doubt,) = decide(answers).doubts
    assert word in doubt


def test_answers_that_agree_raise_none() -> None:
    for answers in (
        said(),
        said(form="yes", volume="yes"),
        said(changes="yes", cite="yes", knowledge="yes", untried="yes"),
        said(limits="yes", changes="yes", knowledge="yes", form="yes"),
    ):
        assert decide(answers).doubts == ()


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({}, "There are no answers to limits, changes"),
        (said(form=""), "There is no answer to form: say yes, no or unsure"),
        (said(form="maybe"), "form is 'maybe': say yes, no or unsure."),
        (said(colour="yes"), "There is no question 'colour'; there are limits"),
        (said(form=["yes"]), "form is \\['yes'\\]"),  # type: ignore[arg-type]
        (["yes"], "The answers must be"),
    ],
)
def test_bad_answers_get_one_sentence(answers: Any, sentence: str) -> None:
    with pytest.raises(DecisionError, match=sentence) as caught:
        decide(answers)
    assert "\n" not in str(caught.value)


def test_answers_may_be_written_as_people_write_them() -> None:
    read = yaml.safe_load("{limits: no, changes: YES, cite: y, knowledge: '?', untried: Not sure}")
    made = checked_answers(said() | read)
    assert list(made.values())[:5] == ["no", "yes", "yes", "unsure", "unsure"]


# --- the record -----------------------------------------------------------------------------------


def test_evidence_is_what_the_ledger_has_and_says_what_it_has_not() -> None:
    found, missing = record.evidence(
        ("S05", "S25.gold"), measured_claims({"06_x": {"claims": [CLAIM]}})
    )
    assert [each.id for each in found] == ["S05.update"] and missing == ["S25.gold"]
    other = {"06_x": {"claims": [CLAIM | {"id": "S05x.y"}]}}
    assert record.evidence(("S05",), measured_claims(other)) == ([], ["S05"])


def test_ids_of_whole_claims_are_in_the_real_ledger() -> None:
    stored = {c["id"] for entry in load_ledger().values() for c in entry["claims"]}
    named = {id for question in decision_questions() for id in question.evidence if "." in id}
    assert named <= stored


def test_the_record_has_everything() -> None:
    answers = said(changes="yes", knowledge="yes", form="yes")
    claims = measured_claims({"06_x": {"claims": [CLAIM]}})
    text = record.decision_record("A bot", answers, claims, costs.read_inputs(), date(2026, 1, 2))
    assert text.startswith("# A bot: RAG\n\nStatus: proposed, 2026-01-02\n")
    assert f"| 2 | {decision_questions()[1].ask} | Yes |" in text
    assert "**RAG**, decided by question 2." in text
    evidence = next(line for line in text.splitlines() if line.startswith("- S05.update: "))
    for words in (CLAIM["statement"], "SUPPORTED", "12.5", "[11, 14]", "n = 101", CLAIM["note"]):
        assert str(words) in evidence
    assert "- S22: not measured yet." in text
    assert "Yes to question 1 " in text and "makes it **hybrid**" in text
    assert "leads to hybrid" in text and "| Set-up, USD |" in text and "$" not in text
    assert "Costs" not in record.decision_record("A bot", answers, claims)


def test_the_record_shows_every_verdict() -> None:
    verdicts = {"S05.a": "against", "S05.b": "no difference", "S05.c": "undecided"}
    made = [CLAIM | {"id": id, "verdict": verdict} for id, verdict in verdicts.items()]
    nothing = {"value": None, "interval": None, "n": None, "margin": None, "metric": ""}
    made.append(CLAIM | nothing | {"id": "S05.d", "verdict": "not tested", "note": "Too small."})
    claims = measured_claims({"06_x": {"claims": made}})
    text = record.decision_record("A bot", said(changes="yes"), claims)
    for verdict in (*verdicts.values(), "not tested"):
        assert f". {verdict.upper()}: " in text
    assert "NOT TESTED: Too small." in text


def test_a_title_cannot_break_the_record() -> None:
    text = record.decision_record("a\n# b | <script> [x](y)", said(), [])
    assert text.splitlines()[0] == "# a \\# b \\| \\<script\\> \\[x\\](y): prompt first"


def test_saving_never_overwrites_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = record.save_record("one", tmp_path / "r.md")
    second = record.save_record("two", tmp_path / "r.md")
    assert (first.name, second.name) == ("r.md", "r-2.md")
    assert (first.read_text(), second.read_text()) == ("one", "two")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DecisionError, match="No space left"):
        record.save_record("three", tmp_path / "r.md")
    assert sorted(path.name for path in tmp_path.glob("*.md")) == ["r-2.md", "r.md"]
    assert not list(tmp_path.glob(".*partial"))


# --- the command ----------------------------------------------------------------------------------


def invoke(*arguments: str, typed: str = "") -> Any:
    return CliRunner().invoke(__main__.app, ["decide", *arguments], input=typed)


def test_the_terminal_asks_again_until_it_understands(own_folder: Path) -> None:
    typed = "A bot\n" + "no\nperhaps\nY\n" + "?\nn\nn\nn\nn\nn\n"
    done = invoke("--out", "record.md", typed=typed)
    assert done.exit_code == 0, done.output
    assert "\nRAG\n" in done.output and "Doubt: " in done.output
    assert (own_folder / "record.md").read_text().startswith("# A bot: RAG")


def test_a_teams_file(own_folder: Path) -> None:
    printed = invoke("--template").output
    (own_folder / "case.yaml").write_text(printed.replace("volume: unsure", "volume: yes"))
    done = invoke("case.yaml", "--out", "record.md")
    assert done.exit_code == 0 and "\nfine-tuning\n" in done.output
    assert "## Costs" not in (own_folder / "record.md").read_text()
    priced = printed.replace("# costs:  # what differs", "costs:")
    priced = priced.replace("#   queries_per_month: 20000", "  queries_per_month: 9000000")
    (own_folder / "case.yaml").write_text(priced)
    assert invoke("case.yaml", "--out", "priced.md").exit_code == 0
    assert "At 9,000,000 a month, LoRA is" in (own_folder / "priced.md").read_text()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "case.yaml cannot be read as YAML"),
        ("- a", "case.yaml needs `answers:`"),
        ("answers: {limits: no}", "There are no answers to changes"),
        (f"answers: {said()}\ncolour: red", "case.yaml has 'colour'"),
        (f"answers: {said()}\ncosts: {{months: 0}}", "months is 0"),
        (f"answers: {said()}\ncosts: 3", "costs must be lines"),
    ],
)
def test_a_broken_file_gets_one_sentence_without_a_traceback(
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    sentence: str,
) -> None:
    (own_folder / "case.yaml").write_text(text)
    monkeypatch.setattr("sys.argv", ["course", "decide", "case.yaml"])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    told = capsys.readouterr().err
    assert caught.value.code == 1 and sentence in told and "Traceback" not in told


# --- the widgets ----------------------------------------------------------------------------------


def answer_all(view: Any, answers: dict[str, str]) -> None:
    for name, value in answers.items():
        view.choices[name].value = value


def press(view: Any, name: str) -> None:
    row = next(child for child in view.children if hasattr(child, "children"))
    next(button for button in row.children if button.description == name).click()


def test_nothing_is_answered_beforehand_and_what_is_missing_is_said() -> None:
    view: Any = decisions.decision_helper("before")
    assert repr(view) == "decision helper (run the cell to use it)"
    press(view, "Decide")
    assert "Not answered yet: question 1, 2, 3, 4, 5, 6, 7, 8." in view.said.value
    assert store.read_events()[0] == []


def test_answers_are_kept_restored_and_compared(own_folder: Path) -> None:
    before: Any = decisions.decision_helper("before")
    answer_all(before, said(form="yes"))
    press(before, "Decide")
    assert "<b>fine-tuning</b>, decided by question 7" in before.said.value
    assert "measured" not in before.said.value  # no evidence beforehand
    again: Any = decisions.decision_helper("before")
    assert again.answers() == said(form="yes")
    after: Any = decisions.decision_helper("after")
    assert set(after.answers().values()) == {None}
    answer_all(after, said(form="yes", changes="yes"))
    press(after, "Decide")
    assert "Before the course: <b>fine-tuning</b>, with other answers to 2" in after.said.value
    assert "What the course measured" in after.said.value
    assert decisions.kept_answers("before") == said(form="yes")
    answer_all(again, said(cite="yes"))
    press(again, "Decide")
    assert decisions.kept_answers("before") == said(cite="yes")  # the last ones count


def test_exporting_writes_the_record_with_the_calculators_costs(own_folder: Path) -> None:
    calculator: Any = explorers.cost_calculator({"queries_per_month": 9_000_000})
    view: Any = decisions.decision_helper("after", calculator)
    view.title.value = "Müller & Söhne: a bot"
    answer_all(view, said(volume="yes"))
    press(view, "Export")
    (path,) = own_folder.glob("decision-*.md")
    assert path.name in view.said.value
    assert "At 9,000,000 a month, LoRA is" in path.read_text()
    calculator.fields["months"].value = "soon"
    press(view, "Export")
    assert "That did not work" in view.said.value and "months must be a number" in view.said.value
    assert len(list(own_folder.glob("decision-*.md"))) == 1


def test_an_unfinished_case_is_not_exported(own_folder: Path) -> None:
    view: Any = decisions.decision_helper("after")
    answer_all(view, said(volume="yes"))
    view.choices["form"].value = None
    press(view, "Export")
    assert "Not answered yet: question 7." in view.said.value
    assert not list(own_folder.glob("decision-*"))


def test_the_calculator_follows_its_fields_and_says_what_is_wrong() -> None:
    view: Any = explorers.cost_calculator()
    assert "<table>" in view.said.value and repr(view).startswith("cost calculator (")
    view.fields["input_price"].value = "0"
    assert "input_price is 0; it must be more than zero" in view.said.value
    view.fields["input_price"].value = "400"
    assert "LoRA is the cheaper one" in view.said.value


def test_the_case_explorer_shows_a_story_and_decides_it() -> None:
    view: Any = explorers.scenario_explorer(list(CASES.values()))
    choice, story, solve, said_ = view.children
    choice.value = 3
    assert CASES["legal-early"].story in story.value and not said_.value
    solve.click()
    assert "<b>RAG</b>" in said_.value and "leads to hybrid" in said_.value


def test_what_an_imported_file_holds_cannot_break_the_helper() -> None:
    store.record_event("decision", stage="before", answers={"limits": "yes"})
    store.record_event("decision", stage="before", answers=[1])
    store.record_event("decision")
    assert decisions.kept_answers("before") is None
    view: Any = decisions.decision_helper("before")
    assert set(view.answers().values()) == {None}


# --- the map --------------------------------------------------------------------------------------


def test_the_map_lists_what_is_there_with_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("00_start", "03_other"):
        head = f"# {name} & more\n\n**After this notebook you can** do `x`, *not* y.\n"
        cell = nbformat.v4.new_markdown_cell(head)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(running, "NOTEBOOKS", tmp_path)
    measured = {"03_other": {"seconds": 150.0, "peak_bytes": 1_640_000_000, "claims": []}}
    monkeypatch.setattr(ledger, "load_ledger", lambda: measured)
    made = running.course_map()
    assert [entry["minutes"] for entry in made.entries] == ["not measured yet", "2"]
    assert made.entries[1]["memory"] == "1.6 GB" and made.entries[0]["after"] == "do x, not y"
    assert "<a href='03_other.ipynb'>03_other &amp; more</a>" in made.data
    assert repr(made) == "map of the course"


def test_the_lab_opens_the_first_notebook() -> None:
    assert running.find_notebooks([])[0].stem == "00_start_here"
