"""The embedded database with a word embedder; tests/slow kills its writer."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import qdrant_client
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from course_utils.scale import databases
from course_utils.scale.clusters import ScaleError
from course_utils.scale.databases import Database, DatabaseRetriever
from course_utils.search import retrieval
from course_utils.search.fusion import FusedRetriever
from course_utils.search.retrieval import BM25Retriever, DenseRetriever

TEXTS = [
    "the lantern battery is low",
    "invoices go out at night",
    "battery charging bays and battery lamps",
    "an odd one",
    "lantern lamps at night",
]
QUESTIONS = ["lantern battery", "charging at night", "battery battery", "", "zebra"]


def chunk(page: str, text: str, number: int = 0, **metadata: Any) -> TextNode:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=page)}
    hidden = list(metadata)
    return TextNode(
        id_=f"{page}:{number}",
        text=text,
        metadata=metadata,
        relationships=source,
        excluded_embed_metadata_keys=hidden,
    )


@pytest.fixture
def nodes() -> list[TextNode]:
    made = [chunk(f"page{i}", text, space="ab"[i % 2], year=i) for i, text in enumerate(TEXTS)]
    del made[3].metadata["space"]  # a page that says nothing about its space
    return made


@pytest.fixture
def database(embedder: Any, nodes: list[TextNode]) -> Iterator[Database]:
    words = [len(w) for w in retrieval.content_words([retrieval.title_and_text(n) for n in nodes])]
    made = Database(":memory:", embedder, mean_words=float(np.mean(words)))
    made.write(nodes)
    yield made
    made.close()


def shown(found: Any) -> list[tuple[str, float]]:
    return [(hit.node_id, round(hit.get_score(), 5)) for hit in found]


@pytest.mark.parametrize("by_words", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 50])
def test_it_ranks_as_faiss_and_bm25s_do(
    database: Database, nodes: Any, embedder: Any, by_words: bool, top_k: int
) -> None:
    ours = DatabaseRetriever(database, top_k, by_words=by_words).search(QUESTIONS)
    local = BM25Retriever(nodes, top_k) if by_words else DenseRetriever(nodes, embedder, top_k)
    for one, other in zip(ours, local.search(QUESTIONS), strict=True):
        assert [s for _, s in shown(one)] == pytest.approx([s for _, s in shown(other)], abs=1e-5)
        clear = [hit for hit in shown(other) if hit[1] > 0]
        assert shown(one)[: len(clear)] == clear


def test_both_at_once_are_fused_like_any_retrievers(
    database: Database, nodes: Any, embedder: Any
) -> None:
    arms = [DatabaseRetriever(database), DatabaseRetriever(database, by_words=True)]
    local = [DenseRetriever(nodes, embedder), BM25Retriever(nodes)]
    assert shown(FusedRetriever(arms).retrieve("lantern battery")) == shown(
        FusedRetriever(local).retrieve("lantern battery")
    )


def test_nodes_come_back_as_they_went_in(database: Database, nodes: Any) -> None:
    hit = DatabaseRetriever(database, 1).retrieve("odd one")[0].node
    assert (hit.node_id, hit.ref_doc_id, hit.metadata) == ("page3:0", "page3", {"year": 3})
    assert hit.get_content() == "an odd one"


SPACE_A = MetadataFilter(key="space", value="a")
FILTERS = {
    "equal": MetadataFilters(filters=[SPACE_A]),
    "unknown value": MetadataFilters(filters=[MetadataFilter(key="space", value="c")]),
    "unknown key": MetadataFilters(filters=[MetadataFilter(key="tenant", value="a")]),
    "in": MetadataFilters(
        filters=[MetadataFilter(key="space", value=["b", "c"], operator=FilterOperator.IN)]
    ),
    "above": MetadataFilters(
        filters=[MetadataFilter(key="year", value=1, operator=FilterOperator.GT)]
    ),
    "and": MetadataFilters(
        filters=[SPACE_A, MetadataFilter(key="year", value=2, operator=FilterOperator.LTE)]
    ),
    "or": MetadataFilters(
        filters=[SPACE_A, MetadataFilter(key="year", value=1)], condition=FilterCondition.OR
    ),
    "not": MetadataFilters(
        filters=[MetadataFilter(key="year", value=0, operator=FilterOperator.NE)]
    ),
}


@pytest.mark.parametrize("by_words", [False, True])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_let_through_what_they_do_elsewhere_and_nothing_more(
    database: Database, nodes: Any, embedder: Any, name: str, by_words: bool
) -> None:
    filters = FILTERS[name]
    ours = DatabaseRetriever(database, 50, filters, by_words=by_words)
    words, vectors = BM25Retriever(nodes, 50, filters), DenseRetriever(nodes, embedder, 50, filters)
    local = words if by_words else vectors
    for question in QUESTIONS:
        assert {hit.node_id for hit in ours.retrieve(question)} == {
            hit.node_id for hit in local.retrieve(question)
        }


def test_not_equal_hides_what_says_nothing_where_llama_index_shows_it(
    database: Database, nodes: Any, embedder: Any
) -> None:
    other = MetadataFilter(key="space", value="a", operator=FilterOperator.NE)
    filters = MetadataFilters(filters=[other])
    ours = DatabaseRetriever(database, 50, filters).retrieve("lamps")
    local = DenseRetriever(nodes, embedder, 50, filters).retrieve("lamps")
    assert {hit.node_id for hit in ours} == {"page1:0"}
    assert {hit.node_id for hit in local} == {"page1:0", "page3:0"}


def test_a_filter_selects_before_the_ranking(database: Database) -> None:
    best = DatabaseRetriever(database, 1).retrieve("invoices go out at night")[0]
    assert best.node.metadata["space"] == "b"
    inside = DatabaseRetriever(database, 1, FILTERS["equal"])
    assert [hit.node_id for hit in inside.retrieve("invoices go out at night")] == ["page4:0"]


def test_writing_again_doubles_nothing(database: Database, nodes: Any) -> None:
    database.write(nodes)
    database.write(nodes[:2])
    assert len(database) == len(nodes) and database.missing(nodes) == []


def test_it_persists_and_a_rest_is_found_missing(
    tmp_path: Path, embedder: Any, nodes: list[TextNode]
) -> None:
    database = Database(str(tmp_path / "db"), embedder)
    database.write(nodes[:3])
    with pytest.raises(ScaleError, match="open elsewhere"):
        Database(str(tmp_path / "db"), embedder)
    database.close()
    again = Database(str(tmp_path / "db"), embedder, mean_words=1)
    assert again.missing(nodes) == nodes[3:]
    assert again.mean_words == 50
    again.close()
    embedder.fingerprint = "another"
    with pytest.raises(ScaleError, match="another embedder"):
        Database(str(tmp_path / "db"), embedder)


def test_a_changed_text_or_metadata_is_missing(database: Database, nodes: Any) -> None:
    changed = chunk("page0", "the lantern battery is full", space="a", year=0)
    moved = chunk("page1", TEXTS[1], space="a", year=1)
    assert database.missing([changed, moved, *nodes[2:]]) == [changed, moved]


def test_a_replaced_page_leaves_nothing_behind(database: Database) -> None:
    database.replace("page2", [chunk("page2", "bays for charging", number) for number in (0, 7)])
    database.replace("page2", [chunk("page2", "charging moved to the yard", 9)])
    database.replace("page4", [])
    retriever = DatabaseRetriever(database, 50)
    found = {hit.node_id for hit in retriever.retrieve("battery bays lantern")}
    assert found == {"page0:0", "page1:0", "page2:9", "page3:0"}
    words = DatabaseRetriever(database, 50, by_words=True)
    assert words.retrieve("bays") == []


def test_no_query_that_starts_after_an_update_finds_the_old_page(
    database: Database, embedder: Any
) -> None:
    """While pages are replaced, readers ask on; each answer is whole, and none is out of date."""
    pages = [f"live{i}" for i in range(6)]
    current = dict.fromkeys(pages, 0)
    wrong: list[Any] = []
    done = threading.Event()

    def version(page: str, number: int) -> list[TextNode]:
        return [chunk(page, f"{page} lantern v{number}", number * 10 + part) for part in (0, 1)]

    def ask() -> None:
        retriever = DatabaseRetriever(database, 50)
        while not done.is_set():
            least = dict(current)
            seen: dict[str, set[int]] = {page: set() for page in pages}
            for hit in retriever.retrieve("lantern"):
                if hit.node.ref_doc_id in seen:
                    seen[hit.node.ref_doc_id].add(int(hit.node_id.split(":")[1]) // 10)
            for page, versions in seen.items():
                if not versions or min(versions) < least[page]:
                    wrong.append((page, versions, least[page]))

    for page in pages:
        database.replace(page, version(page, 0))
    readers = [threading.Thread(target=ask) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 8):
        for page in pages:
            database.replace(page, version(page, number))
            current[page] = number
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(database) == len(TEXTS) + 2 * len(pages)


@pytest.mark.parametrize("module", ["qdrant_client", "llama_index.vector_stores.qdrant"])
def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, embedder: Any, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ScaleError, match=rf"^{module} is missing \(.*\): run .* -e '\.\[scale\]'"):
        Database(":memory:", embedder)


def test_a_collection_of_others_is_left_alone(tmp_path: Path, embedder: Any) -> None:
    client = qdrant_client.QdrantClient(path=str(tmp_path))
    types = qdrant_client.models
    vectors = types.VectorParams(size=8, distance=types.Distance.DOT)
    client.create_collection("pages", vectors)
    client.close()
    with pytest.raises(ScaleError, match="pages was made with another embedder"):
        Database(str(tmp_path), embedder)


def test_a_server_is_asked_by_many_at_once(monkeypatch: pytest.MonkeyPatch, embedder: Any) -> None:
    asked: dict[str, Any] = {}
    local = qdrant_client.QdrantClient(":memory:")
    both = threading.Barrier(2, timeout=10)

    def client(**where: Any) -> Any:
        asked.update(where)
        return local

    def count(*_: Any, **__: Any) -> Any:
        both.wait()  # breaks when one caller waits for the other
        return SimpleNamespace(count=7)

    monkeypatch.setattr(qdrant_client, "QdrantClient", client)
    monkeypatch.setattr(local, "count", count)
    monkeypatch.setenv("QDRANT_API_KEY", "k")
    database = Database("http://host:6333", embedder)
    assert asked == {"url": "http://host:6333", "api_key": "k"}
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(len, [database, database])) == [7, 7]


def test_where_nothing_is_missing_no_cluster_is_started(
    nodes: list[TextNode], embedder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(str(tmp_path / "full"), embedder)
    database.write(nodes)
    monkeypatch.setattr(databases, "embed_stream", None)
    assert databases.index_nodes(nodes, database) == 0
    database.close()
