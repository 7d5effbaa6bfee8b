"""Training, constrained decoding and the sweeps with the real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_utils import generation, models, sweeps, tasks
from course_utils.corpus import load_tickets
from course_utils.formats import tickets
from course_utils.models import LanguageModel


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    loaded = models.load_generator()
    assert isinstance(loaded, LanguageModel)
    return loaded


def test_constrained_decoding_keeps_the_schema_whatever_is_asked(llm: LanguageModel) -> None:
    chats = [tasks.turns("You sing.", text) for text in ("A song, please!", "Hi. " * 20, "JSON")]
    assert not any(tickets.check(text).valid for text in generation.generate(llm, chats, 60))
    texts = generation.generate(llm, chats, 140, schema=tasks.SCHEMA)
    assert [tickets.check(text).error for text in texts] == ["", "", ""]


def test_a_shared_prefix_changes_no_answer(llm: LanguageModel) -> None:
    shots = [tasks.ticket_chat(ticket, learned=True) for ticket in load_tickets("train")[:3]]
    asked = [tasks.ticket_chat(ticket) for ticket in load_tickets("dev")[:4]]
    chats = [tasks.few_shot(tasks.TICKET, shots, chat) for chat in asked]
    plain = generation.generate(llm, chats, 60, tokens_per_batch=1400)
    assert len(set(plain)) == 4
    assert generation.generate(llm, chats, 60, shared_prefix=True) == plain


@pytest.mark.parametrize("name", sweeps.SWEEPS)
def test_a_small_sweep_runs_and_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    out = sweeps.run(name, small=True, out=tmp_path / "small.json")
    stored = json.loads(out.read_text())
    assert stored["small"] and stored["date"] and stored["versions"]["torch"]
    for label, arm in stored["arms"].items():
        assert {len(scores) for scores in arm["scores"].values()} == {2}, label
