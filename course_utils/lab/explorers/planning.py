"""Explorers of costs, decisions and sizes."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as ipw

from course_utils.decision import costs, deciding
from course_utils.decision.record import evidence
from course_utils.lab.ledger import measured_claims
from course_utils.lab.views import WIDE, View, guarded, markdown_html, status
from course_utils.scale import sizing


class CostCalculator(View):
    """Every input of the cost model as a field; what follows from them below."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.said = ipw.HTML()
        self.fields = {}
        for name, each in costs.example_inputs().items():
            self.fields[name] = ipw.Text(
                value=f"{given.get(name, each['value'])}",
                description=f"{name} ({each['unit']})",
                tooltip=each["about"],
                continuous_update=False,
                style={"description_width": "275px"},
                layout=ipw.Layout(width="98%"),
            )
            self.fields[name].observe(guarded(self.show, self.said), names="value")
        two = ipw.Layout(grid_template_columns="repeat(auto-fit, minmax(385px, 1fr))", width="98%")
        grid = ipw.GridBox(list(self.fields.values()), layout=two)
        super().__init__([grid, self.said], "cost calculator")
        self.show()

    def inputs(self) -> costs.Inputs:
        return costs.read_inputs({name: field.value for name, field in self.fields.items()})

    def show(self, _: Any = None) -> None:
        self.said.value = status(markdown_html(costs.costs_markdown(self.inputs())))


def cost_calculator(given: Mapping[str, Any] | None = None) -> CostCalculator:
    """The cost model with a field for each input.

    Args:
        given: what differs from the examples to begin with.
    """
    return CostCalculator(given or {})


def scenario_explorer(cases: Sequence[deciding.Scenario]) -> View:
    """Choose a written case, decide it in your head, then see what the questions decide.

    Args:
        cases: those on offer.
    """
    choice = ipw.Dropdown(
        options=[(case.title, i) for i, case in enumerate(cases)], description="Case", layout=WIDE
    )
    solve = ipw.Button(description="Decide", tooltip="Show the answers and the decision")
    story, said = ipw.HTML(), ipw.HTML()

    def show(_: Any = None) -> None:
        story.value = status(f"<p>{html.escape(cases[choice.value].story)}</p>")
        said.value = ""

    def reply(_: Any) -> None:
        case = cases[choice.value]
        words = ", ".join(f"{id}: {answer}" for id, answer in case.answers.items())
        made = decision_html(deciding.decide(case.answers), case.answers)
        said.value = status(f"<p>{words}</p>{made}<p>{html.escape(case.why)}</p>")

    choice.observe(guarded(show, said), names="value")
    solve.on_click(guarded(reply, said))
    show()
    return View([choice, story, solve, said], "case explorer")


def size_calculator(item: sizing.UnitCosts) -> View:
    """Move the number of pages, and see bytes, machines, hours and money, and what breaks first.

    Args:
        item: what one chunk, question and comparison cost.
    """
    wide = {"style": {"description_width": "210px"}, "layout": WIDE}
    pages = ipw.FloatLogSlider(
        value=500, min=2, max=8, step=0.1, readout_format=",.0f", description="Pages", **wide
    )
    workers = ipw.IntSlider(value=2, min=1, max=64, description="Workers that embed", **wide)
    memory = ipw.IntSlider(value=16, min=4, max=256, description="GB of memory a machine", **wide)
    each = ipw.Dropdown(
        options=[("4 bytes (float32)", 4), ("1 byte (int8)", 1)],
        description="A vector's numbers in memory",
        **wide,
    )
    said = ipw.HTML()

    def show(_: Any = None) -> None:
        made = sizing.collection_sizes(pages.value, item, workers.value, memory.value, each.value)
        broken = sizing.size_limits(item, workers.value, memory.value, bytes_each=each.value)
        said.value = status(markdown_html(sizing.sizes_markdown(made, broken)))

    controls = [pages, workers, memory, each]
    for control in controls:
        control.observe(guarded(show, said), names="value")
    show()
    return View([*controls, said], "size calculator")


def decision_html(
    made: deciding.Decision,
    answers: Mapping[str, str],
    before: Mapping[str, str] | None = None,
    with_evidence: bool = True,
) -> str:
    """A decision, why, what speaks against it, and what was said before the course."""
    by = (
        f"question {deciding.question_number(made.decided_by)}"
        if made.decided_by
        else "no yes at all"
    )
    doubts = "".join(f"<li>{html.escape(doubt)}</li>" for doubt in made.doubts)
    against = (
        f"What speaks against it:<ul>{doubts}</ul>" if doubts else "Nothing speaks against it."
    )
    shown = (
        f"<p><b>{made.outcome}</b>, decided by {by}. {html.escape(made.because)}</p>"
        f"<p>{against}</p>"
    )
    if with_evidence:
        found, missing = evidence(made.evidence, measured_claims())
        backed = "".join(f"<li>{html.escape(str(each))}</li>" for each in found)
        backed += "".join(f"<li>{id}: not measured yet.</li>" for id in missing)
        summary = "<summary>What the course measured about it</summary>"
        shown += f"<details>{summary}<ul>{backed}</ul></details>"
    if before is not None:
        then = deciding.decide(before).outcome
        other = [f"{deciding.question_number(id)}" for id in answers if answers[id] != before[id]]
        moved = f"other answers to {', '.join(other)}" if other else "the same answers"
        shown += f"<p>Before the course: <b>{then}</b>, with {moved}.</p>"
    return shown
