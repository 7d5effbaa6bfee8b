"""Real processes, killed: Ray nodes while they embed, a writer while it fills the database."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from course_utils.scale import clusters
from course_utils.scale.databases import Database, DatabaseRetriever

pytestmark = pytest.mark.alone  # Ray takes all cores


class SlowEmbedder:
    """A text's hash as its vector, 20 ms each, so that there is time to be killed in."""

    fingerprint = "slow hash"
    seconds = 0.02

    def encode(self, texts: list[str]) -> np.ndarray:
        time.sleep(self.seconds * len(texts))
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [np.random.default_rng(seed).standard_normal(16) for seed in seeds]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


class QuickEmbedder(SlowEmbedder):
    seconds = 0.0


NODES = [
    TextNode(
        id_=f"page{i // 5}:{i % 5}",
        text=f"chunk {i} of the wiki" + " and more" * (i % 7),
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"page{i // 5}")},
    )
    for i in range(600)
]


def test_no_cluster_at_an_address_is_said_in_a_sentence() -> None:
    with pytest.raises(clusters.ScaleError, match="No Ray cluster answers at"):
        next(clusters.embed_stream(NODES[:1], "127.0.0.1:1"))


def test_a_writer_is_killed_and_the_next_goes_on(tmp_path: Path) -> None:
    """The child writes node by node; whatever it got done is kept, and the rest is written once."""
    folder = tmp_path / "db"
    with subprocess.Popen(
        [sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 40:
                os.kill(child.pid, signal.SIGKILL)
                break
    database = Database(str(folder), QuickEmbedder())  # type: ignore[arg-type]
    before = len(database)
    missing = database.missing(NODES)
    assert 40 <= before < len(NODES) and before + len(missing) == len(NODES)
    database.write(missing)
    assert len(database) == len(NODES) and database.missing(NODES) == []
    retriever = DatabaseRetriever(database, 1)
    for node in (NODES[0], NODES[39], NODES[-1]):
        hit = retriever.retrieve(node.get_content("embed"))[0]  # type: ignore[arg-type]
        assert (hit.node_id, round(hit.get_score(), 4)) == (node.node_id, 1.0)
    database.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        # Workers unpickle the embedder above, so this file must be theirs too.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        made = clusters.local_cluster(machines=2)
        yield made
        clusters.load_ray().shutdown()
        made.shutdown()


def test_the_command_goes_on_where_it_was(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("lamps", "bays"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"The {name} are charged at night.\n")
    command = [sys.executable, "-m", "course_utils", "index", "docs", "--database", "db"]
    root = {"PYTHONPATH": str(Path(clusters.__file__).parents[1])}
    said = []
    for _ in range(2):
        done = subprocess.run(
            [*command, "--ray", cluster.address, "--workers", "1"],
            cwd=tmp_path,
            env=os.environ | root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout.strip())
    assert said == ["2 chunks written; db holds 2.", "0 chunks written; db holds 2."]


def test_a_worker_with_another_embedder_is_told_in_a_sentence(
    cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    load: Any = SlowEmbedder
    stream = clusters.embed_stream(NODES[:40], cluster.address, load=load, fingerprint="another")
    with pytest.raises(clusters.ScaleError, match=r"could not embed: .*another embedder"):
        next(stream)
    assert capfd.readouterr() == ("", ""), "Ray talks"


def test_a_machine_dies_midway_and_nothing_is_lost_or_doubled(
    cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    machines: list[str] = []
    victim = next(iter(cluster.worker_nodes))

    def parts() -> Iterator[clusters.Part]:
        load: Any = SlowEmbedder
        stream = clusters.embed_stream(NODES, cluster.address, batch=20, load=load)
        for number, part in enumerate(stream):
            machines.append(part.machine)
            if number == 8:
                cluster.remove_node(victim, allow_graceful=False)
            yield part

    vectors = clusters.gather(parts(), len(NODES))
    wanted = QuickEmbedder().encode([node.get_content("embed") for node in NODES])  # type: ignore[arg-type]
    assert np.allclose(vectors, wanted)
    assert len(set(machines[:9])) == 2, "both machines had worked"
    assert len(set(machines[-5:])) == 1 and len(machines) == 30
    assert capfd.readouterr() == ("", ""), "Ray talks"


if __name__ == "__main__":
    filling = Database(sys.argv[1], QuickEmbedder())  # type: ignore[arg-type]
    for place, each in enumerate(NODES):
        filling.write([each])
        print(place + 1, flush=True)
