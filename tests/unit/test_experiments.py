"""The parts of an experiment that need no model, and that an interrupted one goes on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from course_utils import tasks
from course_utils.evaluate.correctness import is_correct, normalise
from course_utils.generate.citing import Answer
from course_utils.lab import results
from course_utils.tasks import common, emails, handbook, tickets
from course_utils.tasks.emails import load_emails
from course_utils.tasks.tickets import load_tickets
from notebooks.experiments import bench, running


def test_paraphrases_ask_for_the_fact_without_giving_it_away() -> None:
    facts = handbook.facts_with_paraphrases()
    assert len(facts) == 32
    for old, new, asked in facts:
        assert old.answer != new.answer
        assert len({*asked, old.text}) == 5
        for text in asked:
            assert not is_correct(Answer(text), old) and not is_correct(Answer(text), new)
    assert not {old.id for old, _, _ in facts if old.split == "dev"}


def test_options_are_four_different_answers_of_one_kind() -> None:
    facts = handbook.facts_with_paraphrases()
    for place, (old, new, _) in enumerate(facts):
        options = handbook.four_options(facts, place)
        assert options[:2] == [old.answer, new.answer]
        assert len({" ".join(normalise(option)) for option in options}) == 4


def test_a_few_shot_chat_has_one_system_message_and_ends_with_the_question() -> None:
    learn, asked = load_tickets("train")[:2], load_tickets("dev")[0]
    shots = [tickets.ticket_chat(ticket, learned=True) for ticket in learn]
    chat = common.few_shot("Do it.", shots, tickets.ticket_chat(asked))
    roles = [message["role"] for message in chat]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert (chat[0]["content"], chat[-1]["content"]) == ("Do it.", asked.message)
    assert json.loads(chat[2]["content"]) == learn[0].ticket


def test_right_answers_score_one_and_garbage_nothing() -> None:
    gold = load_tickets("dev")[:3]
    right = [tickets.to_json(ticket.ticket) for ticket in gold]
    assert tickets.score_tickets([right[0], "no JSON", right[0]], gold)["exact"] == [1, 0, 0]
    briefs = load_emails()[:2]
    scores = emails.score_emails([briefs[0].email, ""], briefs)
    assert [scores[key][0] for key in ("rules", "all rules", "facts", "all facts")] == [1] * 4
    assert [scores[key][1] for key in ("all rules", "facts", "all facts")] == [0] * 3


def test_the_guide_has_its_sixteen_rules() -> None:
    assert len(emails.guide_rules()) == 16
    assert "Calm" in emails.guided_chat(load_emails()[0], emails.guide_rules())[1]["content"]


def test_an_interrupted_experiment_keeps_the_arms_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def arms(lab: Any) -> bench.Arms:
        for name in "abc":

            def arm(name: str = name) -> dict[str, Any]:
                ran.append(name)
                if ran == ["a", "b"]:
                    raise RuntimeError("power cut")
                return {"scores": {"x": [1.0]}}

            yield name, arm

    monkeypatch.setattr(running, "EXPERIMENTS", {"three": arms})
    lab = SimpleNamespace(key="one model")
    monkeypatch.setattr(running, "Bench", lambda small: lab)
    with pytest.raises(RuntimeError, match="power cut"):
        running.run_experiment("three", out=tmp_path / "three.json")
    assert not (tmp_path / "three.json").exists()
    out = running.run_experiment("three", out=tmp_path / "three.json")
    assert ran == ["a", "b", "b", "c"]
    stored = json.loads(out.read_text())
    assert list(stored["arms"]) == ["a", "b", "c"]
    assert stored["date"] and stored["machine"] and stored["code"] == running.code_version()
    running.run_experiment(
        "three", out=tmp_path / "three.json"
    )  # finished: the next run starts over
    assert ran[4:] == ["a", "b", "c"]


def test_the_arms_of_another_model_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = SimpleNamespace(key="one model")

    def arms(lab: Any) -> bench.Arms:
        yield "a", lambda: {"by": lab.key}
        if lab.key == "one model":
            raise RuntimeError("power cut")

    monkeypatch.setattr(running, "EXPERIMENTS", {"one": arms})
    monkeypatch.setattr(running, "Bench", lambda small: lab)
    with pytest.raises(RuntimeError, match="power cut"):
        running.run_experiment("one", out=tmp_path / "one.json")
    lab.key = "another model"
    out = running.run_experiment("one", out=tmp_path / "one.json")
    assert json.loads(out.read_text())["arms"] == {"a": {"by": "another model"}}


def test_the_arms_of_other_code_or_data_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def arms(lab: Any) -> bench.Arms:
        def arm() -> dict[str, Any]:
            ran.append("a")
            return {}

        yield "a", arm
        if len(ran) < 2:
            raise RuntimeError("power cut")

    data = tmp_path / "datasets"
    data.mkdir()
    monkeypatch.setattr(running, "DATASETS", data)
    monkeypatch.setattr(running, "EXPERIMENTS", {"one": arms})
    monkeypatch.setattr(running, "Bench", lambda small: SimpleNamespace(key="one model"))
    with pytest.raises(RuntimeError, match="power cut"):
        running.run_experiment("one", out=tmp_path / "one.json")
    (data / "tickets.jsonl").write_text("{}")
    running.run_experiment("one", out=tmp_path / "one.json")
    assert ran == ["a", "a"]


def test_the_code_version_changes_with_arms_tasks_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "DATASETS", tmp_path)
    versions = {running.code_version()}
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "cases.jsonl").write_text("{}")
    versions.add(running.code_version())
    for module in (tasks, running):
        changed = tmp_path / "__pycache__" / "changed.py"  # where data is not looked for
        changed.parent.mkdir(exist_ok=True)
        changed.write_text("# another arm")
        monkeypatch.setattr(module, "__file__", str(changed))
        versions.add(running.code_version())
    assert len(versions) == 4
    assert running.code_version() in versions


def test_unknown_and_missing_experiments_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(results.ExperimentError, match="use one of format, voice"):
        running.run_experiment("nonsense")
    monkeypatch.setattr(results, "RESULTS", Path("/nowhere"))
    with pytest.raises(results.ExperimentError, match="run `course experiment voice`"):
        results.load_results("voice")
