"""The learner's own answers to the decision questions, kept with the exercises'."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets as ipw

from course_utils.decision import deciding, record
from course_utils.decision.deciding import Decision, DecisionError, checked_answers, decide
from course_utils.grade import store
from course_utils.lab.explorers.planning import CostCalculator, decision_html
from course_utils.lab.ledger import measured_claims
from course_utils.lab.views import WIDE, View, guarded, status


def keep_answers(stage: str, answers: Mapping[str, Any]) -> Decision:
    """Decide, and keep the answers with the exercises' ("before" or "after" the course)."""
    made = decide(answers)
    store.record_event("decision", stage=stage, answers=checked_answers(answers))
    return made


def kept_answers(stage: str) -> dict[str, str] | None:
    """The answers kept last at a stage, None when there are none that can be used."""
    for event in reversed(store.read_events()[0]):
        if event["event"] == "decision" and event.get("stage") == stage:
            try:
                return checked_answers(event.get("answers", {}))
            except DecisionError:  # an imported file may hold anything, older questions too
                continue
    return None


class DecisionHelper(View):
    """The questions as buttons; the decision below them, kept and exported on request."""

    def __init__(self, stage: str, calculator: CostCalculator | None) -> None:
        self.stage, self.calculator = stage, calculator
        self.title = ipw.Text(
            description="Your case", placeholder="what is being decided", layout=WIDE
        )
        self.said = ipw.HTML()
        self.choices: dict[str, ipw.ToggleButtons] = {}
        rows: list[ipw.Widget] = []
        last = kept_answers(stage) or {}
        for number, each in enumerate(deciding.decision_questions(), start=1):
            words = {text: key for key, text in deciding.WORDS.items()}
            self.choices[each.id] = ipw.ToggleButtons(
                options=words,
                value=last.get(each.id),
                tooltips=[f"{text} to question {number}" for text in words],
                style={"button_width": "6em"},
            )
            asked = f"<b>{number}. {html.escape(each.ask)}</b><br>{html.escape(each.help)}"
            text = ipw.HTML(f"<div style='line-height:1.4;margin-top:6px'>{asked}</div>")
            rows += [text, self.choices[each.id]]
        buttons = [ipw.Button(description="Decide", tooltip="Decide, and keep the answers")]
        buttons[0].on_click(guarded(self.decide, self.said))
        if stage == "after":
            buttons.append(ipw.Button(description="Export", tooltip="Write the decision record"))
            buttons[1].on_click(guarded(self.export, self.said))
            rows.insert(0, self.title)
        super().__init__([*rows, ipw.HBox(buttons), self.said], "decision helper")

    def answers(self) -> dict[str, str]:
        return {id: choice.value for id, choice in self.choices.items()}

    def decide(self, _: Any = None) -> None:
        if self.is_complete():
            made = keep_answers(self.stage, self.answers())
            before = kept_answers("before") if self.stage == "after" else None
            shown = decision_html(made, self.answers(), before, with_evidence=self.stage == "after")
            self.said.value = status(f"{shown}<p>Your answers are kept.</p>")

    def is_complete(self) -> bool:
        """Whether every question is answered; says which are not."""
        unanswered = [
            f"{deciding.question_number(id)}" for id, said in self.answers().items() if not said
        ]
        told = f"Not answered yet: question {', '.join(unanswered)}. <i>Not sure</i> is an answer."
        self.said.value = status(told) if unanswered else ""
        return not unanswered

    def export(self, _: Any = None) -> None:
        if not self.is_complete():
            return
        inputs = self.calculator.inputs() if self.calculator else None
        text = record.decision_record(self.title.value, self.answers(), measured_claims(), inputs)
        slug = re.sub(r"[^a-z0-9]+", "-", self.title.value.lower()).strip("-")[:40]
        path = record.save_record(text, Path(f"decision-{slug or 'record'}.md"))
        self.said.value = status(f"The record is written as <b>{path}</b> beside this notebook.")


def decision_helper(stage: str = "after", calculator: CostCalculator | None = None) -> View:
    """The decision questions; answers given before are put back.

    Args:
        stage: "before" or "after" the course: the answers are kept under it. Afterwards they are
            compared with those from before, and can be exported as a record.
        calculator: whose costs go into the record.
    """
    return DecisionHelper(stage, calculator)
