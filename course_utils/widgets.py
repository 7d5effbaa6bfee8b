"""The explorers: thin views over a real computation.

A view shows what the functions below it return and holds no logic of its own. Every callback
reports its error in the view, because JupyterLab shows a callback's exception nowhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
from IPython.display import HTML
from llama_index.core import Document
from llama_index.core.schema import NodeWithScore
from markdown_it import MarkdownIt

from course_utils import costs, decision, sizing
from course_utils.chunking import Spans, Splitter
from course_utils.corpus import Question, Span, page_of
from course_utils.evaluation import CAUSES, Estimate, page_run
from course_utils.faults import Faults, FaultySearch, symptoms
from course_utils.generation import Answer, Chat, Reader, count_tokens, generate, rag_chat
from course_utils.models import Endpoint, LanguageModel
from course_utils.reranking import RerankedRetriever, Reranker
from course_utils.retrieval import DenseRetriever, NodeRetriever, reciprocal_rank_fusion

if TYPE_CHECKING:
    from course_utils.finetuning import Adapter

WRAP = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"  # JupyterLab cuts words
WIDE = ipw.Layout(width="98%")


class View(ipw.VBox):
    """A box of widgets whose plain-text form is the same everywhere."""

    def __init__(self, children: Sequence[ipw.Widget], name: str) -> None:
        super().__init__(list(children))
        self._name = name

    def __repr__(self, **_: Any) -> str:
        return f"{self._name} (run the cell to use it)"


class PageView(HTML):
    """A page's text as HTML with some of it marked."""

    def __init__(self, document: Document, marked: Sequence[Span], context: int = 300) -> None:
        """Show the part of a page around its marked spans.

        Args:
            document: the page.
            marked: spans of that page, at least one.
            context: characters shown before the first and behind the last.
        """
        text = document.text
        start = max(min(span.start for span in marked) - context, 0)
        end = min(max(span.end for span in marked) + context, len(text))
        pieces, place = ["… " if start else ""], start
        for span in sorted(marked, key=lambda span: span.start):
            pieces += [
                html.escape(text[place : span.start]),
                f"<mark><b>{html.escape(text[span.start : span.end])}</b></mark>",
            ]
            place = span.end
        pieces += [html.escape(text[place:end]), " …" if end < len(text) else ""]
        title = html.escape(f"{document.metadata['title']} ({document.metadata['path']})")
        body = f"<pre style='{WRAP}'>{''.join(pieces)}</pre>"
        super().__init__(f"<p><b>{title}</b></p>{body}")
        self.page = document.node_id

    def __repr__(self) -> str:
        return f"page {self.page}, with the cited words marked"


def rag_explorer(
    retriever: DenseRetriever, llm: LanguageModel | Endpoint, questions: Sequence[Question]
) -> View:
    """Choose a question and k; see what is retrieved, the prompt that goes in, and the answer.

    Args:
        retriever: what to search.
        llm: who answers, when the button is pressed.
        questions: those on offer.
    """
    choice = ipw.Dropdown(
        options=[(question.text, i) for i, question in enumerate(questions)],
        description="Question",
        layout=ipw.Layout(width="98%"),
    )
    top_k = ipw.IntSlider(value=3, min=1, max=10, description="k (sources)")
    ask = ipw.Button(description="Answer", tooltip="Let the model answer from these sources")
    sources, prompt, answer = ipw.HTML(), ipw.HTML(), ipw.HTML()

    def state() -> tuple[Question, list[NodeWithScore], Chat]:
        question = questions[choice.value]
        found = retriever.search([question.text], top_k.value)[0]
        return question, found, rag_chat(question.text, found)

    def show(_: Any = None) -> None:
        question, found, chat = state()
        sources.value = sources_html(question, found)
        size = f" ({count_tokens(llm, chat)} tokens)" if isinstance(llm, LanguageModel) else ""
        text = html.escape(chat[-1]["content"])
        prompt.value = (
            f"<details><summary>The prompt{size}</summary>"
            f"<pre style='{WRAP}'>{text}</pre></details>"
        )
        answer.value = ""

    def reply(_: Any) -> None:
        question, _found, chat = state()
        said = html.escape(generate(llm, [chat])[0])
        answer.value = status(f"<b>Answer:</b> {said}<br><b>Right:</b> {question.answer}")

    for control in (choice, top_k):
        control.observe(guarded(show, answer), names="value")
    ask.on_click(guarded(reply, answer))
    show()
    return View([choice, top_k, sources, prompt, ask, answer], "RAG explorer")


def fusion_explorer(
    words: NodeRetriever, meaning: NodeRetriever, questions: Sequence[Question]
) -> View:
    """Choose a question, the weight and k of the fusion; see the ranks side by side.

    Args:
        words: BM25.
        meaning: a dense retriever.
        questions: those on offer.
    """
    choice = ipw.Dropdown(
        options=[(f"{question.kind}: {question.text}", i) for i, question in enumerate(questions)],
        description="Question",
        layout=ipw.Layout(width="98%"),
    )
    style = {"description_width": "initial"}
    weight = ipw.FloatSlider(
        value=0.5, min=0, max=1, step=0.05, description="Weight of meaning", style=style
    )
    k = ipw.IntSlider(value=60, min=1, max=200, description="k of the fusion", style=style)
    ranks = ipw.HTML()

    def show(_: Any = None) -> None:
        question = questions[choice.value]
        rankings = [one.search([question.text], 100)[0] for one in (words, meaning)]
        weights = (1 - weight.value, weight.value)
        fused = reciprocal_rank_fusion(rankings, weights, k.value, by_page=True)
        ranks.value = status(ranks_html(question, fused, rankings))

    for control in (choice, weight, k):
        control.observe(guarded(show, ranks), names="value")
    show()
    return View([choice, weight, k, ranks], "fusion explorer")


def rerank_explorer(
    retriever: NodeRetriever, reranker: Reranker, questions: Sequence[Question]
) -> View:
    """Choose a question and how many candidates are reranked; see their ranks before and after.

    Args:
        retriever: finds the candidates.
        reranker: orders them.
        questions: those on offer.
    """
    choice = ipw.Dropdown(
        options=[(f"{question.kind}: {question.text}", i) for i, question in enumerate(questions)],
        description="Question",
        layout=ipw.Layout(width="98%"),
    )
    depth = ipw.SelectionSlider(options=[5, 10, 20, 50, 100], value=50, description="Candidates")
    ranks = ipw.HTML()

    def show(_: Any = None) -> None:
        question = questions[choice.value]
        before = retriever.search([question.text], 100)
        after = RerankedRetriever(retriever, reranker, depth=depth.value)
        found = after.search([question.text], 100)[0]
        ranks.value = status(ranks_html(question, found, before, heads=("after", "before")))

    for control in (choice, depth):
        control.observe(guarded(show, ranks), names="value")
    show()
    return View([choice, depth, ranks], "reranking explorer")


def chunk_explorer(
    pages: Mapping[str, Document],
    questions: Sequence[Question],
    splitters: Mapping[str, Callable[[int], Splitter]],
) -> View:
    """Choose a question, a splitter and a size; see its page cut, with the gold words marked.

    Args:
        pages: by id.
        questions: those on offer; the page of the first gold span is shown.
        splitters: name to what makes a splitter of a size in tokens.
    """
    wide = ipw.Layout(width="98%")
    style = {"description_width": "initial"}
    options = [(question.text, i) for i, question in enumerate(questions)]
    choice = ipw.Dropdown(options=options, description="Question", layout=wide)
    kind = ipw.Dropdown(options=list(splitters), description="Splitter")
    sizes = [16, 32, 64, 128, 256, 512]
    size = ipw.SelectionSlider(
        options=sizes, value=64, description="Chunk size (tokens)", style=style
    )
    view = ipw.HTML()

    def show(_: Any = None) -> None:
        gold = questions[choice.value].gold[0]
        page = pages[gold.page]
        spans = splitters[kind.value](size.value)(page.text)
        view.value = status(cut_html(page, spans, gold))

    for control in (choice, kind, size):
        control.observe(guarded(show, view), names="value")
    show()
    return View([choice, kind, size, view], "chunk explorer")


def adapter_explorer(
    llm: LanguageModel, tasks: Mapping[str, tuple[Adapter, str, str]], max_new_tokens: int = 160
) -> View:
    """Type a message; see what the base model and an adapter write, side by side.

    Args:
        llm: the base model.
        tasks: name to an adapter, the instruction it was trained below, and a first message.
        max_new_tokens: length at which an answer is cut off.
    """
    from course_utils.finetuning import attached  # peft takes seconds to import

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


def side_by_side(texts: Mapping[str, str]) -> str:
    """Texts in columns, each below its name."""
    cells = "".join(
        "<td style='text-align:left;vertical-align:top;width:50%'>"
        f"<pre style='white-space:pre-wrap'>{html.escape(text)}</pre></td>"
        for text in texts.values()
    )
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in texts)
    return f"<table><thead><tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"


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
    healthy = symptoms(made(Faults()), questions)

    def search() -> FaultySearch:
        return made(Faults(**{name: switch.value for name, switch in switches.items()}))

    def show(_: Any = None) -> None:
        numbers.value = status(moved_html(healthy, symptoms(search(), questions)))
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
        last = decision.kept(stage) or {}
        for number, each in enumerate(decision.questions(), start=1):
            words = {text: key for key, text in decision.WORDS.items()}
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
            made = decision.keep(self.stage, self.answers())
            before = decision.kept("before") if self.stage == "after" else None
            shown = decision_html(made, self.answers(), before, evidence=self.stage == "after")
            self.said.value = status(f"{shown}<p>Your answers are kept.</p>")

    def is_complete(self) -> bool:
        """Whether every question is answered; says which are not."""
        unanswered = [f"{decision.number(id)}" for id, said in self.answers().items() if not said]
        told = f"Not answered yet: question {', '.join(unanswered)}. <i>Not sure</i> is an answer."
        self.said.value = status(told) if unanswered else ""
        return not unanswered

    def export(self, _: Any = None) -> None:
        if not self.is_complete():
            return
        inputs = self.calculator.inputs() if self.calculator else None
        text = decision.record(self.title.value, self.answers(), inputs)
        slug = re.sub(r"[^a-z0-9]+", "-", self.title.value.lower()).strip("-")[:40]
        path = decision.save(text, Path(f"decision-{slug or 'record'}.md"))
        self.said.value = status(f"The record is written as <b>{path}</b> beside this notebook.")


class CostCalculator(View):
    """Every input of the cost model as a field; what follows from them below."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.said = ipw.HTML()
        self.fields = {}
        for name, each in costs.examples().items():
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
        self.said.value = status(markdown(costs.text(self.inputs())))


def decision_helper(stage: str = "after", calculator: CostCalculator | None = None) -> View:
    """The decision questions; answers given before are put back.

    Args:
        stage: "before" or "after" the course: the answers are kept under it. Afterwards they are
            compared with those from before, and can be exported as a record.
        calculator: whose costs go into the record.
    """
    return DecisionHelper(stage, calculator)


def cost_calculator(given: Mapping[str, Any] | None = None) -> CostCalculator:
    """The cost model with a field for each input.

    Args:
        given: what differs from the examples to begin with.
    """
    return CostCalculator(given or {})


def scenario_explorer(cases: Sequence[decision.Scenario]) -> View:
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
        made = decision_html(decision.decide(case.answers), case.answers)
        said.value = status(f"<p>{words}</p>{made}<p>{html.escape(case.why)}</p>")

    choice.observe(guarded(show, said), names="value")
    solve.on_click(guarded(reply, said))
    show()
    return View([choice, story, solve, said], "case explorer")


def size_calculator(item: sizing.Costs) -> View:
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
        made = sizing.sizes(pages.value, item, workers.value, memory.value, each.value)
        broken = sizing.limits(item, workers.value, memory.value, bytes_each=each.value)
        said.value = status(markdown(sizing.text(made, broken)))

    controls = [pages, workers, memory, each]
    for control in controls:
        control.observe(guarded(show, said), names="value")
    show()
    return View([*controls, said], "size calculator")


def decision_html(
    made: decision.Decision,
    answers: Mapping[str, str],
    before: Mapping[str, str] | None = None,
    evidence: bool = True,
) -> str:
    """A decision, why, what speaks against it, and what was said before the course."""
    by = f"question {decision.number(made.decided_by)}" if made.decided_by else "no yes at all"
    doubts = "".join(f"<li>{html.escape(doubt)}</li>" for doubt in made.doubts)
    against = (
        f"What speaks against it:<ul>{doubts}</ul>" if doubts else "Nothing speaks against it."
    )
    shown = (
        f"<p><b>{made.outcome}</b>, decided by {by}. {html.escape(made.because)}</p>"
        f"<p>{against}</p>"
    )
    if evidence:
        found, missing = decision.evidence(made.evidence)
        backed = "".join(f"<li>{html.escape(str(each))}</li>" for each in found)
        backed += "".join(f"<li>{id}: not measured yet.</li>" for id in missing)
        summary = "<summary>What the course measured about it</summary>"
        shown += f"<details>{summary}<ul>{backed}</ul></details>"
    if before is not None:
        then = decision.decide(before).outcome
        other = [f"{decision.number(id)}" for id in answers if answers[id] != before[id]]
        moved = f"other answers to {', '.join(other)}" if other else "the same answers"
        shown += f"<p>Before the course: <b>{then}</b>, with {moved}.</p>"
    return shown


def cut_html(page: Document, spans: Spans, gold: Span) -> str:
    """A page chunk by chunk, each numbered, with its gold words marked."""
    body, held = "", []
    for number, (start, end) in enumerate(spans, start=1):
        a, b = (min(max(place, start), end) for place in (gold.start, gold.end))
        if a < b:
            held.append(f"chunk {number}: {(b - a) / (gold.end - gold.start):.0%}")
        parts = [html.escape(x) for x in (page.text[start:a], page.text[a:b], page.text[b:end])]
        text = f"{parts[0]}<mark><b>{parts[1]}</b></mark>{parts[2]}" if a < b else "".join(parts)
        body += (
            f"<pre style='{WRAP};border-left:4px solid #1b6ca8;padding-left:8px'>"
            f"<i>{number}</i>  {text.strip()}</pre>"
        )
    found = ", ".join(held)
    title = html.escape(page.metadata["title"])
    return f"<p><b>{title}</b>: {len(spans)} chunks. The gold words: {found}.</p>{body}"


def sources_html(question: Question, found: Sequence[NodeWithScore], score: str = "cosine") -> str:
    """Retrieved nodes as a table; those from a page that answers the question are marked."""
    gold = {span.page for span in question.gold}
    rows = "".join(
        f"<tr><td>{rank}</td><td>{hit.get_score():.3f}</td>"
        f"<td style='text-align:left'>{html.escape(hit.node.metadata['title'])}</td>"
        f"<td>{'✔ gold page' if page_of(hit.node) in gold else ''}</td></tr>"
        for rank, hit in enumerate(found, start=1)
    )
    heads = f"<th>rank</th><th>{score}</th><th>page</th><th></th>"
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def ranks_html(
    question: Question,
    fused: Sequence[NodeWithScore],
    parts: Sequence[Sequence[NodeWithScore]],
    top: int = 10,
    heads: Sequence[str] = ("fused", "by words", "by meaning"),
) -> str:
    """The first pages of a ranking, and the gold ones further down, with their ranks in others.

    Args:
        question: whose gold pages are marked.
        fused: the ranking that gives the order.
        parts: other rankings, such as those in a fusion.
        top: pages shown, gold or not.
        heads: what the rankings are called.
    """
    gold = {span.page for span in question.gold}
    titles = {page_of(hit.node): hit.node.metadata["title"] for hit in fused}
    places = [{page: n for n, page in enumerate(page_run(x), 1)} for x in (fused, *parts)]
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{each.get(page, '–')}</td>" for each in places)
        + f"<td style='text-align:left'>{html.escape(title)}</td>"
        + f"<td>{'✔ gold page' if page in gold else ''}</td></tr>"
        for page, title in titles.items()
        if places[0][page] <= top or page in gold
    )
    names = "".join(f"<th>{name}</th>" for name in (*heads, "page", ""))
    return f"<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>"


def guarded(callback: Callable[[Any], None], where: ipw.HTML) -> Callable[[Any], None]:
    """A callback that writes what went wrong into ``where`` in place of raising."""

    def run(event: Any) -> None:
        try:
            callback(event)
        except Exception as error:  # a learner must see it, whatever it is
            where.value = status(f"<b>That did not work:</b> {html.escape(str(error))}")

    return run


def status(inner: str) -> str:
    """HTML that a screen reader announces when it changes."""
    return f"<div role='status' aria-live='polite'>{inner}</div>"


def markdown(text: str) -> str:
    """Markdown as HTML, tables too; HTML inside it is shown, not obeyed."""
    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
