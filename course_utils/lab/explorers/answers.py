"""Explorers of answers: adapters, failures, broken pipelines."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as ipw
from llama_index.core import Document

from course_utils.evaluate.correctness import CAUSES
from course_utils.evaluate.intervals import Estimate
from course_utils.generate.citing import Answer
from course_utils.generate.decoding import generate
from course_utils.generate.reading import Reader
from course_utils.lab.explorers.search import sources_html
from course_utils.lab.faults import Faults, FaultySearch, measure_symptoms
from course_utils.lab.views import WIDE, PageView, View, guarded, side_by_side, status
from course_utils.models.generator import LanguageModel
from course_utils.search.documents import Question
from course_utils.tune.recipes import Adapter


def adapter_explorer(
    llm: LanguageModel, tasks: Mapping[str, tuple[Adapter, str, str]], max_new_tokens: int = 160
) -> View:
    """Type a message; see what the base model and an adapter write, side by side.

    Args:
        llm: the base model.
        tasks: name to an adapter, the instruction it was trained below, and a first message.
        max_new_tokens: length at which an answer is cut off.
    """
    from course_utils.tune.adapters import attached  # peft takes seconds to import

    wide = ipw.Layout(width="98%", height="8em")
    task = ipw.Dropdown(options=list(tasks), description="Task")
    message = ipw.Textarea(description="Message", layout=wide)
    button = ipw.Button(description="Write", tooltip="Let both write an answer")
    answers = ipw.HTML()

    def choose(_: Any = None) -> None:
        message.value = tasks[task.value][2]
        answers.value = ""

    def write(_: Any) -> None:
        adapter, instruction, _first = tasks[task.value]
        roles = {"system": instruction, "user": message.value}
        chat = [{"role": role, "content": content} for role, content in roles.items()]
        base = generate(llm, [chat], max_new_tokens)[0]
        with attached(llm, adapter):
            tuned = generate(llm, [chat], max_new_tokens)[0]
        answers.value = status(side_by_side({"base": base, "with the adapter": tuned}))

    task.observe(guarded(choose, answers), names="value")
    button.on_click(guarded(write, answers))
    choose()
    return View([task, message, button, answers], "adapter explorer")


def failure_browser(
    pages: Mapping[str, Document],
    questions: Sequence[Question],
    answers: Sequence[Answer],
    causes: Sequence[str | None],
) -> View:
    """Choose a cause and one of its wrong answers; see what was said, and the page that answers.

    Args:
        pages: by id.
        questions: n questions, like the two below.
        answers: what was said.
        causes: what went wrong, None for right answers.
    """
    wide = ipw.Layout(width="98%")
    kind = ipw.Dropdown(options=[c for c in CAUSES if c in causes], description="Cause")
    choice = ipw.Select(description="Question", rows=8, layout=wide)
    view = ipw.HTML()

    def choose(_: Any = None) -> None:
        places = [i for i, made in enumerate(causes) if made == kind.value]
        choice.options = [(f"{i}: {questions[i].text}", i) for i in places]
        choice.index = 0 if places else None

    def show(_: Any = None) -> None:
        if choice.value is None:
            return
        question, answer = questions[choice.value], answers[choice.value]
        last = question.gold[-1:]
        page = PageView(pages[last[0].page], last).data if last else "<p>No page answers this.</p>"
        said = html.escape(answer.text) or "(refused)"
        told = f"<p><b>Said:</b> {said} (from {html.escape(answer.page or 'no page')})<br>"
        view.value = status(f"{told}<b>Right:</b> {html.escape(question.answer) or '–'}</p>{page}")

    kind.observe(guarded(choose, view), names="value")
    choice.observe(guarded(show, view), names="value")
    choose()
    return View([kind, choice, view], "failure browser")


FAULTS = {
    "large_chunks": "Chunks of 512 tokens, one in the prompt",
    "other_embedder": "Questions embedded with another model",
    "high_threshold": "Nothing below a cosine of 0.5",
    "reversed_scores": "Distances sorted as if they were similarities",
}


def broken_pipeline_explorer(
    made: Callable[[Faults], FaultySearch], questions: Sequence[Question], reader: Reader
) -> View:
    """Switch faults on; see which metric moves, and what one question is answered.

    Args:
        made: makes a search with some faults.
        questions: answerable ones, to measure with and to choose from.
        reader: who answers, when the button is pressed.
    """
    switches = {
        name: ipw.Checkbox(value=False, description=text, indent=False, layout=WIDE)
        for name, text in FAULTS.items()
    }
    options = [(question.text, i) for i, question in enumerate(questions)]
    choice = ipw.Dropdown(options=options, description="Question", layout=WIDE)
    ask = ipw.Button(description="Answer", tooltip="Let the reader answer this question")
    numbers, answer = ipw.HTML(), ipw.HTML()
    healthy = measure_symptoms(made(Faults()), questions)

    def search() -> FaultySearch:
        return made(Faults(**{name: switch.value for name, switch in switches.items()}))

    def show(_: Any = None) -> None:
        numbers.value = status(moved_html(healthy, measure_symptoms(search(), questions)))
        answer.value = ""

    def reply(_: Any) -> None:
        question = questions[choice.value]
        found = search().search([question.text])
        said = html.escape(reader([question.text], found)[0].text) or "(nothing)"
        told = f"<b>Answer:</b> {said}<br><b>Right:</b> {html.escape(question.answer)}"
        answer.value = status(f"{told}{sources_html(question, found[0], '1 / rank')}")

    for switch in switches.values():
        switch.observe(guarded(show, numbers), names="value")
    ask.on_click(guarded(reply, answer))
    show()
    rows = [*switches.values(), numbers, choice, ask, answer]
    return View(rows, "broken pipeline explorer")


def moved_html(before: Mapping[str, Estimate], after: Mapping[str, Estimate]) -> str:
    """Metrics before and after as a table, with a word where the two intervals do not overlap."""
    rows = ""
    for name, was in before.items():
        now = after[name]
        word = "falls" if now.high < was.low else "rises" if now.low > was.high else ""
        cells = f"<td>{was}</td><td>{now}</td><td><b>{word}</b></td>"
        rows += f"<tr><td style='text-align:left'>{html.escape(name)}</td>{cells}</tr>"
    heads = "".join(f"<th>{head}</th>" for head in ("metric", "healthy", "with these faults", ""))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
