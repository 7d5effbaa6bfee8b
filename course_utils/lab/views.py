"""What all widgets share: views, guarded callbacks, text as HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as ipw
from IPython.display import HTML
from llama_index.core import Document
from markdown_it import MarkdownIt

from course_utils.search.documents import Span

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


def markdown_html(text: str) -> str:
    """Markdown as HTML, tables too; HTML inside it is shown, not obeyed."""
    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text)


def side_by_side(texts: Mapping[str, str]) -> str:
    """Texts in columns, each below its name."""
    cells = "".join(
        "<td style='text-align:left;vertical-align:top;width:50%'>"
        f"<pre style='white-space:pre-wrap'>{html.escape(text)}</pre></td>"
        for text in texts.values()
    )
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in texts)
    return f"<table><thead><tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"
