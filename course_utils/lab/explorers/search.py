"""Explorers of search: questions, chunks, fusion, reranking."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as ipw
from llama_index.core import Document
from llama_index.core.schema import NodeWithScore

from course_utils.evaluate.metrics import page_run
from course_utils.generate.chat_api import stream
from course_utils.generate.decoding import count_tokens, generate
from course_utils.generate.prompting import Chat, citing_chat, rag_chat
from course_utils.lab.views import WRAP, View, guarded, status
from course_utils.models.generator import Endpoint, LanguageModel
from course_utils.search.chunking import Spans, Splitter
from course_utils.search.documents import Question, Span, page_of
from course_utils.search.fusion import reciprocal_rank_fusion
from course_utils.search.reranking import RerankedRetriever, Reranker
from course_utils.search.retrieval import NodeRetriever


def rag_explorer(
    retriever: NodeRetriever, llm: LanguageModel | Endpoint, questions: Sequence[Question]
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
        prompt = citing_chat if isinstance(llm, Endpoint) else rag_chat
        return question, found, prompt(question.text, found)

    def show(_: Any = None) -> None:
        question, found, chat = state()
        sources.value = sources_html(question, found, "score")
        size = f" ({count_tokens(llm, chat)} tokens)" if isinstance(llm, LanguageModel) else ""
        text = html.escape(chat[-1]["content"])
        prompt.value = (
            f"<details><summary>The prompt{size}</summary>"
            f"<pre style='{WRAP}'>{text}</pre></details>"
        )
        answer.value = ""

    def reply(_: Any) -> None:
        question, _found, chat = state()
        said = ""
        for piece in stream(llm, chat) if isinstance(llm, Endpoint) else generate(llm, [chat]):
            said += piece
            right = html.escape(question.answer)
            answer.value = status(f"<b>Answer:</b> {html.escape(said)}<br><b>Right:</b> {right}")

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


def sources_html(question: Question, hits: Sequence[NodeWithScore], score: str = "cosine") -> str:
    """Retrieved nodes as a table; those from a page that answers the question are marked."""
    gold = {span.page for span in question.gold}
    rows = "".join(
        f"<tr><td>{rank}</td><td>{hit.get_score():.3f}</td>"
        f"<td style='text-align:left'>{html.escape(hit.node.metadata['title'])}</td>"
        f"<td>{'✔ gold page' if page_of(hit.node) in gold else ''}</td></tr>"
        for rank, hit in enumerate(hits, start=1)
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
