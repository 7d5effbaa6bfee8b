"""One exercise in a notebook: a thin view over ``check`` and ``store``.

Everything it shows comes from disk, so running its cell again restores it, after a restart too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as ipw
from IPython.core.getipython import get_ipython
from traitlets import TraitError

from course_utils.grade import exercises, store
from course_utils.grade.check import HINT_COST, Result, grade, standing
from course_utils.grade.exercises import CODE, EXERCISES, Exercise, Names, get_exercise
from course_utils.grade.source import answer_text
from course_utils.lab import ledger
from course_utils.lab.views import WIDE, View, guarded, markdown_html, status

VERDICTS = {
    "passed": ("Right", "#1a7f37"),
    "partial": ("Partly right", "#9a6700"),
    "failed": ("Not right", "#b42318"),
    "error": ("Not judged", "#b42318"),
    "unattempted": ("Not answered yet", "#57606a"),
}
REMINDER = (
    "<p><b>On Binder answers are lost when the session ends.</b> Before you leave, press "
    "<i>Export</i> below the last exercise and save the file.</p>"
)
_open: dict[str, ipw.Widget] = {}


def exercise(id: str, folder: Path | str = EXERCISES) -> View:
    """Show an exercise and restore what was answered before.

    Args:
        id: such as "03-rrf".
        folder: where the definitions are.

    Raises:
        GradingError: there is none of this id, or a definition is wrong.
    """
    shell = get_ipython()
    namespace = shell.user_ns if shell else {}
    asked = get_exercise(id, Path(folder))
    _record_solution(asked, namespace)
    return replace_open(f"exercise {id}", lambda: ExerciseView(asked, namespace))


def replace_open(name: str, make: Callable[[], View]) -> View:
    """Make a view and close the one of the same name, with all that is in it."""
    if name in _open:
        close(_open.pop(name))
    _open[name] = make()
    return _open[name]


def close(widget: ipw.Widget) -> None:
    """Close a widget and its children."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()


def on_binder() -> bool:
    """Whether this is a session of mybinder.org, or of another BinderHub."""
    return any(name.startswith("BINDER_") for name in os.environ)


def verdict_html(outcome: str, feedback: str) -> str:
    """A verdict in words and colour, announced by screen readers."""
    word, colour = VERDICTS[outcome]
    style = f"border-left:4px solid {colour};padding-left:8px;line-height:1.5"
    said = f"<b style='color:{colour}'>{word}.</b>{markdown_html(feedback)}"
    return status(f"<div style='{style}'>{said}</div>")


class ExerciseView(View):
    """Question, control, three buttons, and what came of pressing them."""

    def __init__(self, asked: Exercise, namespace: Mapping[str, Any]) -> None:
        self.asked = asked
        self.names = namespace
        self.heading, self.feedback, self.hints, self.shown = (ipw.HTML() for _ in range(4))
        self.question = ipw.HTML(
            f"<div style='line-height:1.5'>{markdown_html(asked.question)}</div>"
        )
        self.control, self.given, self.put = _control(asked)
        self.check_button = _button("Check", f"Check the answer to {asked.id}")
        self.hint_button = _button("Hint", f"Show a hint for {asked.id}")
        self.solution_button = _button("Solution", f"Show the solution of {asked.id}")
        for button, act in (
            (self.check_button, self.check),
            (self.hint_button, self.hint),
            (self.solution_button, self.solution),
        ):
            button.on_click(guarded(act, self.feedback))
        hint = [self.hint_button] if asked.hints else []
        row = ipw.HBox([self.check_button, *hint, self.solution_button])
        parts = [self.heading, self.question, self.control, row]
        super().__init__([*parts, self.feedback, self.hints, self.shown], f"exercise {asked.id}")
        guarded(self.restore, self.feedback)(None)

    def check(self, _: Any = None) -> None:
        """Judge the answer as it stands now, keep it, and say what came of it."""
        self.confirm(False)
        try:
            answer = self.given(self.names)
        except OSError as error:
            self.feedback.value = verdict_html("error", str(error))
            return
        result = grade(self.asked, answer, self.names)
        self.feedback.value = verdict_html(result.outcome, result.feedback)
        if result.outcome != "unattempted":
            self.keep("answer", result, answer)
            self.feedback.value += status(REMINDER) if on_binder() else ""

    def hint(self, _: Any = None) -> None:
        """Show the next hint."""
        self.confirm(False)
        if self.state().hints < len(self.asked.hints):
            self.keep("hint")
        self.show_help()

    def solution(self, _: Any = None) -> None:
        """Show the solution; before the exercise is passed, only when pressed twice."""
        state, limit = self.state(), self.asked.attempts
        spent = limit is not None and state.attempts >= limit
        free = state.outcome == "passed" or state.shown or spent
        if not free and self.solution_button.description == "Solution":
            self.confirm(True)
            told = "After the solution is shown, answers earn no points. Press again to see it."
            self.feedback.value = verdict_html("unattempted", told)
            return
        self.confirm(False)
        if not free:
            self.feedback.value = ""
            self.keep("solution")
        self.show_help(solution=True)

    def confirm(self, asking: bool) -> None:
        self.solution_button.description = "Show it" if asking else "Solution"

    def keep(self, event: str, result: Result | None = None, answer: Any = None) -> None:
        """Save an event; when that fails, say so beside the verdict."""
        fields = {} if result is None else {"answer": answer, **vars(result)}
        try:
            store.record_event(event, self.asked.id, **fields)
        except exercises.GradingError as error:
            self.feedback.value += status(f"<b>{error}</b>")
        self.show_heading()
        for shown in _open.values():
            getattr(shown, "refresh", lambda: None)()  # a dashboard

    def state(self) -> Any:
        return standing(self.asked, self.events())

    def events(self) -> list[store.Event]:
        return [event for event in store.read_events()[0] if event["exercise"] == self.asked.id]

    def restore(self, _: Any = None) -> None:
        """Show what the answers file knows."""
        self.show_heading()
        self.show_help()
        answers = [event for event in self.events() if event["event"] == "answer"]
        if answers:
            with contextlib.suppress(TraitError, TypeError):  # an imported file may hold anything
                self.put(answers[-1]["answer"])
            self.feedback.value = verdict_html(answers[-1]["outcome"], answers[-1]["feedback"])

    def show_heading(self) -> None:
        asked, state = self.asked, self.state()
        facts = [f"{state.points:g} of {asked.points} points"]
        if asked.attempts is not None:
            left = max(asked.attempts - state.attempts, 0)
            facts.append(f"{left} of {asked.attempts} attempts left that count")
        title = markdown_html(f"**Exercise {asked.id}: {asked.title}** ({', '.join(facts)})")
        self.heading.value = title
        left = len(asked.hints) - state.hints
        self.hint_button.description = f"Hint ({left} left)"
        self.hint_button.tooltip = f"Show a hint; each costs {HINT_COST:.0%} of the points"
        self.hint_button.disabled = left <= 0

    def show_help(self, solution: bool = False) -> None:
        asked, state = self.asked, self.state()
        items = "".join(f"<li>{markdown_html(hint)}</li>" for hint in asked.hints[: state.hints])
        self.hints.value = status(f"<b>Hints</b><ol>{items}</ol>") if items else ""
        if solution or state.shown:
            self.shown.value = status(markdown_html(solution_markdown(asked, self.names)))


def solution_markdown(asked: Exercise, namespace: Mapping[str, Any]) -> str:
    """The solution of an exercise and its explanation."""
    if asked.kind in CODE:
        return f"**Solution**\n\n```\n{asked.solution_text}```\n\n{asked.explanation}"
    right = solution_answer(asked, namespace)
    keys = [right] if not isinstance(right, list) else right
    texts = {option.key: option.text for option in asked.options}
    shown = "\n".join(
        f"- {texts.get(str(key), f'{key:.4g}' if not texts else key)}" for key in keys
    )
    return f"**Solution**\n\n{shown}\n\n{asked.explanation}"


def solution_answer(asked: Exercise, namespace: Mapping[str, Any]) -> Any:
    """The answer that earns full marks: a key, a list of keys, a number or source text."""
    if asked.kind in CODE:
        return asked.solution_text
    solve = asked.function("solution")
    assert solve is not None
    made = solve(Names(namespace))
    made = made[0] if isinstance(made, tuple) else made
    if asked.kind == "number":
        return float(made)
    return sorted(made) if asked.kind == "answers" else made


def _button(text: str, tooltip: str) -> ipw.Button:
    return ipw.Button(description=text, tooltip=tooltip)


Control = tuple[ipw.Widget, Callable[[Mapping[str, Any]], Any], Callable[[Any], None]]


def _control(asked: Exercise) -> Control:
    """A control, how to read the answer from it, and how to put one back."""
    pairs = [(option.text, option.key) for option in asked.options]
    if asked.kind in ("prediction", "choice"):
        return _radios(pairs)
    if asked.kind == "answers":
        boxes = {
            key: ipw.Checkbox(value=False, description=text, indent=False, layout=WIDE)
            for text, key in pairs
        }

        def tick(answer: Any) -> None:
            for key, box in boxes.items():
                box.value = key in answer

        return ipw.VBox(list(boxes.values())), lambda _: [k for k in boxes if boxes[k].value], tick
    if asked.kind == "number":
        field = ipw.Text(placeholder="a number", description="Answer")
        return field, lambda _: field.value, lambda answer: setattr(field, "value", str(answer))
    told = f"Your answer is `{asked.answer}` as the notebook has it when you press Check."
    return (
        ipw.HTML(markdown_html(told)),
        lambda names: answer_text(asked.answer, names),
        lambda _: None,
    )


def _radios(pairs: list[tuple[str, str]]) -> Control:
    """One of several, each a group of its own, so that Tab reaches it.

    In one group only the arrow keys would, and JupyterLab takes those to move between cells.
    """
    radios = [ipw.RadioButtons(options=[pair], value=None, layout=WIDE) for pair in pairs]

    def choose(key: Any) -> None:
        for radio, (_, own) in zip(radios, pairs, strict=True):
            radio.value = own if own == key else None

    def chosen(change: Any) -> None:
        if change["new"]:
            choose(change["new"])

    for radio in radios:
        radio.observe(chosen, names="value")
    return ipw.VBox(radios), lambda _: next((r.value for r in radios if r.value), None), choose


def _record_solution(asked: Exercise, namespace: Mapping[str, Any]) -> None:
    """In a recorded run, grade the solution with the notebook's own names, for the tests."""
    if os.environ.get("COURSE_LEDGER"):
        answer = solution_answer(asked, namespace)
        result = grade(asked, answer, namespace)
        ledger.log_line({"exercise": asked.id, "answer": answer, "outcome": result.outcome})
