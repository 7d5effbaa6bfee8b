"""Chunks that say where they come from, by their headings or by a model's sentence. Notebook 02.

A chunk loses what stood above it on its page: "the limit is 5,000 rows" does not say of what. A
contextual chunk is searched by its context too; the reader gets the chunk as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llama_index.core.schema import BaseNode

from course_utils.generate.decoding import generate
from course_utils.generate.prompting import Chat
from course_utils.models.generator import Endpoint, LanguageModel
from course_utils.search.chunking import HEADING, lines_of
from course_utils.search.documents import span_of

CHUNK_CONTEXT = "context"  # the metadata field that holds it
SITUATE = (
    "In one sentence, tell a search engine what this part is about, and from which section of the "
    "page it comes. Write only the sentence."
)
SENTENCE = 40  # tokens


def heading_path(text: str, place: int) -> list[str]:
    """The headings above a place in a Markdown page, the outermost first.

    Args:
        text: the page.
        place: a character's index; a heading that begins there counts too.

    Example:
        >>> heading_path("# Ferries\\n\\n## Night\\n\\nNone.\\n\\n## Day\\n\\nHourly.\\n", 40)
        ['Ferries', 'Day']
    """
    path: dict[int, str] = {}  # level of a heading -> its words
    fenced = False
    for begin, end in lines_of(text, 0, len(text)):
        if begin > place:
            break
        line = text[begin:end]
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif HEADING.match(line) and not fenced:
            marks, _, words = line.partition(" ")
            path = {level: above for level, above in path.items() if level < len(marks)}
            path[len(marks)] = re.sub(r"\s+#*\s*$", "", words)  # a closing mark is no word
    return list(path.values())


def headings_above(chunks: Sequence[BaseNode], pages: Iterable[BaseNode]) -> list[str]:
    """For each chunk the headings above it, but for the page's title, which it has already.

    Args:
        chunks: n chunks that know where on their page they are (``SpanSplitter``).
        pages: the pages they were cut from.

    Returns:
        n texts such as "Limits > Night"; one without headings is empty.
    """
    texts = {page.node_id: page.get_content() for page in pages}
    contexts = []
    for chunk in chunks:
        span = span_of(chunk)
        headings = heading_path(texts[span.page], span.start)
        title = chunk.metadata.get("title")
        contexts.append(" > ".join(heading for heading in headings if heading != title))
    return contexts


def situating_chat(page: BaseNode, chunk: BaseNode) -> Chat:
    """A page, one of its chunks, and the request to situate it.

    The page comes first: a server that keeps the last prompt reads it once for all its chunks.
    """
    title = page.metadata.get("title", "")
    part = f"One part of this page:\n\n{chunk.get_content().strip()}"
    content = f"{title}\n\n{page.get_content()}\n\n---\n\n{part}\n\n---\n\n{SITUATE}"
    return [{"role": "user", "content": content}]


def situate(
    llm: LanguageModel | Endpoint, chunks: Sequence[BaseNode], pages: Iterable[BaseNode]
) -> list[str]:
    """A sentence for each chunk that says what it is about (contextual retrieval: Anthropic, 2024).

    Args:
        llm: writes the sentences.
        chunks: n chunks, those of a page one after the other.
        pages: the pages they were cut from.

    Returns:
        n sentences.
    """
    by_id = {page.node_id: page for page in pages}
    chats = [situating_chat(by_id[span_of(chunk).page], chunk) for chunk in chunks]
    return [text.strip() for text in generate(llm, chats, SENTENCE)]


def with_context(chunks: Sequence[BaseNode], contexts: Sequence[str]) -> list[BaseNode]:
    """Copies of chunks that are embedded and indexed with a context; the reader does not see it.

    Args:
        chunks: n chunks.
        contexts: n texts; an empty one leaves its chunk as it is.
    """
    copies = []
    for chunk, context in zip(chunks, contexts, strict=True):
        copy = chunk.model_copy()
        if context:
            copy.metadata = {**chunk.metadata, CHUNK_CONTEXT: context}
            copy.excluded_llm_metadata_keys = [*chunk.excluded_llm_metadata_keys, CHUNK_CONTEXT]
        copies.append(copy)
    return copies
