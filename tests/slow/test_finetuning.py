"""Training, constrained decoding and the experiments with the real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from course_utils.generate import decoding
from course_utils.models import generator
from course_utils.models.generator import LanguageModel
from course_utils.tasks import common, tickets
from course_utils.tasks.tickets import load_tickets
from notebooks.experiments import running


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    loaded = generator.load_generator()
    assert isinstance(loaded, LanguageModel)
    return loaded


def test_constrained_decoding_keeps_the_schema_whatever_is_asked(llm: LanguageModel) -> None:
    chats = [common.turns("You sing.", text) for text in ("A song, please!", "Hi. " * 20, "JSON")]
    assert not any(tickets.check_ticket(text).valid for text in decoding.generate(llm, chats, 60))
    texts = decoding.generate(llm, chats, 140, schema=tickets.ticket_schema())
    assert [tickets.check_ticket(text).error for text in texts] == ["", "", ""]


def test_a_shared_prefix_changes_no_answer(llm: LanguageModel) -> None:
    shots = [tickets.ticket_chat(ticket, learned=True) for ticket in load_tickets("train")[:3]]
    asked = [tickets.ticket_chat(ticket) for ticket in load_tickets("dev")[:4]]
    chats = [common.few_shot(tickets.TICKET, shots, chat) for chat in asked]
    plain = decoding.generate(llm, chats, 60, tokens_per_batch=1400)
    assert len(set(plain)) == 4
    assert decoding.generate(llm, chats, 60, shared_prefix=True) == plain


def small_experiments() -> list[Any]:
    """One is run by `make test`, all by `make live`."""
    others = running.EXPERIMENTS.keys() - {"reader"}  # the shortest
    return ["reader", *(pytest.param(name, marks=pytest.mark.live) for name in sorted(others))]


@pytest.mark.parametrize("name", small_experiments())
def test_a_small_experiment_runs_and_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    out = running.run_experiment(name, small=True, out=tmp_path / "small.json")
    stored = json.loads(out.read_text())
    assert stored["small"] and stored["date"] and stored["versions"]["torch"]
    for label, arm in stored["arms"].items():
        assert {len(scores) for scores in arm["scores"].values()} == {2}, label
