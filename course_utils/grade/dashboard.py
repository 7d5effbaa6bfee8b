"""Where a learner stands: the table, the exported file, the certificate."""

from __future__ import annotations

import base64
import html
import re
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import ipywidgets as ipw

from course_utils.files import write_text
from course_utils.grade import store
from course_utils.grade.check import standing
from course_utils.grade.exercises import EXERCISES, Exercise, load_exercises
from course_utils.grade.view import VERDICTS, on_binder, replace_open
from course_utils.lab.views import View, guarded, status

BINDER = (
    "<p><b>You are on Binder: your answers are lost when this session ends.</b> Press "
    "<i>Export</i> and save the file before you leave; <i>Import</i> brings it back.</p>"
)


def dashboard(number: str = "", folder: Path | str = EXERCISES) -> View:
    """Points and verdicts, with export and import of all answers.

    Args:
        number: a notebook's, such as "03"; the whole course when "".
        folder: where the definitions are.
    """
    return replace_open(f"dashboard {number}", lambda: _Dashboard(number, Path(folder)))


class _Dashboard(View):
    def __init__(self, number: str, folder: Path) -> None:
        self.every = list(load_exercises(folder).values())
        self.number = number
        self.table, self.said = ipw.HTML(), ipw.HTML()
        self.name = ipw.Text(
            description="Your name",
            placeholder="for the exported file",
            continuous_update=False,
            value=store.learner_name(store.read_events()[0]),
        )
        self.upload = ipw.FileUpload(accept=".jsonl", description="Import")
        buttons = []
        for text, tooltip, act in (
            ("Export", "Save all answers to one file", self.export),
            ("Certificate", "Save a certificate as a page", self.certificate),
        ):
            button = ipw.Button(description=text, tooltip=tooltip)
            button.on_click(guarded(act, self.said))
            buttons.append(button)
        self.name.observe(guarded(self.rename, self.said), names="value")
        self.upload.observe(guarded(self.load_file, self.said), names="value")
        row = ipw.HBox([*buttons, self.upload])
        super().__init__([self.table, self.name, row, self.said], "dashboard")
        guarded(self.refresh, self.said)(None)

    def refresh(self, _: Any = None) -> None:
        events, unread = store.read_events()
        mine = [e for e in self.every if e.id.startswith(self.number)]
        note = f"<p>{unread} lines of the answers file cannot be read.</p>" if unread else ""
        binder = BINDER if on_binder() else ""
        self.table.value = binder + progress_html(mine, events) + note

    def rename(self, _: Any) -> None:
        store.record_event("learner", name=self.name.value.strip())

    def export(self, _: Any) -> None:
        events = store.read_events()[0]
        text = store.export_text(events)
        self._offer("answers", "jsonl", text, f"{len(events)} entries")

    def load_file(self, change: Any) -> None:
        for upload in change["new"]:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "import.jsonl"
                path.write_bytes(bytes(upload["content"]))
                added = store.import_events(path)
            self.refresh()
            self.said.value = status(
                f"{added} new entries imported. Run an exercise's cell again to see its answer."
            )

    def certificate(self, _: Any) -> None:
        events = store.read_events()[0]
        open_ones = [e.id for e in self.every if not standing(e, _of(e, events)).attempts]
        if open_ones:
            shown = ", ".join(open_ones[:8]) + (" …" if len(open_ones) > 8 else "")
            self.said.value = status(f"{len(open_ones)} exercises are still open: {shown}.")
            return
        page = certificate_html(store.learner_name(events), self.every, events, date.today())
        self._offer("certificate", "html", page, "Certificate")

    def _offer(self, kind: str, suffix: str, text: str, what: str) -> None:
        """Write a file beside the notebook and link to its contents."""
        name = re.sub(r"[^\w-]+", "-", self.name.value.strip()).strip("-") or "me"
        path = Path(f"{kind}-{name}.{suffix}")
        write_text(path, text)
        coded = base64.b64encode(text.encode()).decode()
        data = f"data:application/octet-stream;base64,{coded}"
        link = f"<a download='{path.name}' href='{data}'><u>Download it</u></a>"
        self.said.value = status(f"{what} saved as {path.name} beside this notebook. {link}")


def _of(exercise: Exercise, events: Sequence[store.Event]) -> list[store.Event]:
    return [event for event in events if event["exercise"] == exercise.id]


def progress_html(exercises: Sequence[Exercise], events: Sequence[store.Event]) -> str:
    """A row an exercise and the sum, as a table."""
    rows, sums = "", 0.0
    for exercise in exercises:
        state = standing(exercise, _of(exercise, events))
        word, colour = VERDICTS[state.outcome]
        sums += state.points
        rows += (
            f"<tr><td>{exercise.id}</td><td style='text-align:left'>{html.escape(exercise.title)}"
            f"</td><td>{exercise.kind}</td><td style='color:{colour}'><b>{word}</b></td>"
            f"<td>{state.points:g} of {exercise.points}</td><td>{state.attempts}</td></tr>"
        )
    heads = "".join(
        f"<th>{head}</th>"
        for head in ("exercise", "title", "kind", "verdict", "points", "attempts")
    )
    total = f"<b>{sums:g} of {sum(e.points for e in exercises)} points</b>"
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table><p>{total}</p>"


def certificate_html(
    name: str, exercises: Sequence[Exercise], events: Sequence[store.Event], day: date
) -> str:
    """A page that says what was done, and that nobody watched."""
    states = [standing(exercise, _of(exercise, events)) for exercise in exercises]
    points, most = sum(state.points for state in states), sum(e.points for e in exercises)
    right = sum(state.outcome == "passed" for state in states)
    who = html.escape(name or "A learner without a name")
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>Certificate: RAG or fine-tuning? Measure it.</title>
<style>body{{font:18px/1.6 Georgia,serif;max-width:40em;margin:4em auto;padding:2em;
border:3px double #1b6ca8;text-align:center}}</style>
<h1>RAG or fine-tuning? Measure it.</h1>
<p><b>{who}</b></p>
<p>answered all {len(exercises)} exercises of the course, {right} of them in full,<br>
and earned {points:g} of {most} points.</p>
<p>{day.isoformat()}</p>
<p><small>Graded on the learner's own machine; nobody watched. An instructor can grade the answers
again with <code>course grade collect</code>.</small></p></html>
"""
