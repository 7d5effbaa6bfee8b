"""Pages that talk to the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from course_utils.lab import injection


def hits() -> list[NodeWithScore]:
    nodes = [
        TextNode(id_=str(i), text=f"Gate {i}\nopens", metadata={"title": "Gates"}) for i in "12"
    ]
    return [NodeWithScore(node=node, score=1.0) for node in nodes]


@pytest.mark.parametrize("attack", injection.ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_at_the_end_of_the_first_hit_alone(attack: injection.Attack) -> None:
    before = hits()
    after = injection.attacked(before, attack)
    assert after[0].node.get_content() == f"Gate 1\nopens\n\n{attack.text}"
    assert after[1].node.get_content() == before[1].node.get_content()
    assert before[0].node.get_content() == "Gate 1\nopens"
    assert attack.goal in attack.text and injection.succeeded(attack.goal.upper() + ".", attack)
    assert not injection.succeeded("Gate 1 opens [1]", attack)


def test_every_line_of_a_source_is_marked() -> None:
    (message,) = injection.marked_chat("When?", injection.attacked(hits(), injection.ATTACKS[1]))
    sources = message["content"].split("Sources:\n\n")[1].split("\n\nQuestion: When?")[0]
    lines = [line for line in sources.splitlines() if line and line not in ("[1]", "[2]")]
    assert all(line.startswith("| ") for line in lines) and len(lines) > 6


def test_suspicion_is_a_number_for_each_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    def probabilities(llm: Any, chats: Any, options: list[str]) -> np.ndarray:
        assert options == ["yes", "no"]
        return np.array([[0.1 * i, 1 - 0.1 * i] for i in range(len(chats))])

    monkeypatch.setattr(injection, "option_probabilities", probabilities)
    found = injection.suspicion(None, hits())  # type: ignore[arg-type]
    assert np.allclose(found, [0, 0.1])
