"""What surrounds a chunk: parents, headings and written contexts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import Document
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore

from course_utils.files import InputError
from course_utils.lab import contextual
from course_utils.search.chunking import SpanSplitter
from course_utils.search.parents import ParentRetriever
from course_utils.search.retrieval import BM25Retriever, NodeRetriever

PAGE = """# Ferries

Cellarers run them.

## Night

### Limits

Five thousand rows.

```bash
# not a heading
ferry start
```

## Day

Hourly.
"""


def cut(page: Document, size: int) -> list[BaseNode]:
    def split(text: str) -> list[tuple[int, int]]:
        return [(i, min(i + size, len(text))) for i in range(0, len(text), size)]

    return SpanSplitter(split).get_nodes_from_documents([page])


class Listed(NodeRetriever):
    """Always finds the same nodes, in their order."""

    def __init__(self, nodes: list[BaseNode]) -> None:
        super().__init__()
        self.nodes = nodes

    def _rank(self, questions: list[str], top_k: int, filters: Any) -> list[list[NodeWithScore]]:
        hits = [NodeWithScore(node=node, score=-float(i)) for i, node in enumerate(self.nodes)]
        return [hits[:top_k] for _ in questions]


# --- parents --------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(10, 40), st.integers(1, 4), st.randoms(use_true_random=False))
def test_each_small_chunk_brings_the_parent_that_holds_its_middle(
    small: int, large: int, top_k: int, draw: Any
) -> None:
    page = Document(id_="p", text="".join(chr(97 + i % 26) for i in range(120)))
    parts, parents = cut(page, small), cut(page, large)
    draw.shuffle(parts)
    found = ParentRetriever(Listed(parts), parents, top_k).retrieve("a")
    assert len({hit.node_id for hit in found}) == len(found) <= top_k
    middles = [(part.start_char_idx + part.end_char_idx) // 2 for part in parts]  # type: ignore
    firsts = list(dict.fromkeys(middle // large for middle in middles[: 10 * top_k]))[:top_k]
    assert [hit.node.start_char_idx // large for hit in found] == firsts  # type: ignore


def test_a_small_chunk_without_a_parent_stays_itself() -> None:
    page = Document(id_="p", text="a b c d")
    parts = cut(page, 2)
    other = cut(Document(id_="q", text="a b c d"), 7)
    assert ParentRetriever(Listed(parts), other).retrieve("a")[0].node_id == parts[0].node_id


def test_whole_pages_can_be_parents() -> None:
    page = Document(id_="p", text="night ferries")
    assert ParentRetriever(Listed(cut(page, 4)), [page]).retrieve("a")[0].node_id == "p"


def test_a_part_that_does_not_know_its_place_is_refused() -> None:
    chunk = cut(Document(id_="p", text="night ferries"), 4)[0]
    chunk.start_char_idx = None  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no offsets"):
        ParentRetriever(Listed([chunk]), []).retrieve("a")


# --- contexts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("Cellarers", ["Ferries"]),
        ("Five thousand", ["Ferries", "Night", "Limits"]),
        ("### Limits", ["Ferries", "Night", "Limits"]),
        ("ferry start", ["Ferries", "Night", "Limits"]),  # a comment in code is no heading
        ("Hourly", ["Ferries", "Day"]),
    ],
)
def test_headings_above_a_place(words: str, path: list[str]) -> None:
    assert contextual.heading_path(PAGE, PAGE.index(words)) == path


def test_a_level_may_be_left_out_and_come_back() -> None:
    text = "### Deep\n\na\n\n# Top\n\nb\n\n### Deep again\n\nc\n"
    assert contextual.heading_path(text, text.index("\nc")) == ["Top", "Deep again"]


def test_a_mark_that_is_part_of_a_name_stays() -> None:
    text = "## Why C#\n\n### Closed ###\n\na\n"
    assert contextual.heading_path(text, len(text) - 2) == ["Why C#", "Closed"]


def page_and_chunks() -> tuple[Document, list[BaseNode]]:
    hidden: Any = {"excluded_embed_metadata_keys": ["space"]}
    page = Document(id_="p", text=PAGE, metadata={"title": "Ferries", "space": "ops"}, **hidden)
    return page, cut(page, 40)


def test_the_title_is_not_said_twice() -> None:
    page, chunks = page_and_chunks()
    assert contextual.headings_above(chunks, [page])[-1] == "Day"
    assert contextual.headings_above(chunks, [page])[0] == ""


def test_a_context_is_searched_and_not_read() -> None:
    _, chunks = page_and_chunks()
    before = [chunk.get_content(MetadataMode.EMBED) for chunk in chunks]
    told = contextual.with_context(chunks, ["zebra", *[""] * (len(chunks) - 1)])
    assert [chunk.get_content(MetadataMode.EMBED) for chunk in chunks] == before
    assert "zebra" in told[0].get_content(MetadataMode.EMBED)
    assert "zebra" not in told[0].get_content(MetadataMode.LLM)
    assert [chunk.node_id for chunk in told] == [chunk.node_id for chunk in chunks]
    assert BM25Retriever(told).retrieve("zebra")[0].node_id == chunks[0].node_id
    assert not BM25Retriever(chunks).retrieve("zebra")


def test_a_model_reads_the_page_before_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    page, chunks = page_and_chunks()
    asked: list[str] = []

    def ask(llm: Any, chats: Any, max_new_tokens: int) -> list[str]:
        asked.extend(chat[-1]["content"] for chat in chats)
        return [f" About {i}.\n" for i in range(len(chats))]

    monkeypatch.setattr(contextual, "generate", ask)
    found = contextual.situate(None, chunks, [page])  # type: ignore[arg-type]
    assert found == [f"About {i}." for i in range(len(chunks))]
    shared = "Ferries\n\n" + PAGE
    assert all(text.startswith(shared) for text in asked)
    assert chunks[3].get_content().strip() in asked[3][len(shared) :]
