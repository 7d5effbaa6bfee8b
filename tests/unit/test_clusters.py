"""What of a cluster can be tested without one; tests/slow starts Ray and kills it."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from course_utils.scale import clusters
from course_utils.scale.clusters import Part, ScaleError


def part(*places: int) -> Part:
    return Part(np.array(places), np.eye(8, dtype=np.float32)[list(places)], "m")


def test_parts_come_together_in_order() -> None:
    assert np.array_equal(clusters.gather([part(2, 0), part(1)], 3), np.eye(8)[:3])


def test_a_lost_and_a_doubled_vector_are_noticed() -> None:
    with pytest.raises(ScaleError, match="1 of 3 vectors are missing"):
        clusters.gather([part(2, 0)], 3)
    with pytest.raises(ScaleError, match="node 1 came twice"):
        clusters.gather([part(0, 1), part(1, 2)], 3)


def test_no_nodes_need_no_cluster() -> None:
    assert list(clusters.embed_stream([], "nobody:1")) == []


def test_without_ray_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    for call in (clusters.local_cluster, lambda: next(clusters.embed_stream([TextNode()]))):
        with pytest.raises(ScaleError, match=r"^ray\.data is missing"):
            call()


def test_what_keeps_ray_from_starting_is_said_and_its_noise_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ScaleError, match=r"Ray did not start.*\(no port\)"), clusters._starting():
        os.write(2, b"noise")
        raise OSError("no port")
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


@pytest.mark.slow
@pytest.mark.parametrize(("slow", "said"), [(2, ""), (3, r"busy machine, try again. \(too slow\)")])
def test_a_node_that_starts_too_slowly_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, slow: int, said: str
) -> None:
    class Cluster:
        started: ClassVar[list[int]] = []
        tries = 0

        def add_node(self, num_cpus: int, **_: Any) -> None:
            self.tries += 1
            if num_cpus and self.tries <= slow + 1:
                raise Exception("too slow")
            self.started.append(num_cpus)

        def wait_for_nodes(self) -> None:
            assert self.started == [0, 4, 4]

    monkeypatch.setattr(clusters.load_ray().cluster_utils, "Cluster", Cluster)
    with pytest.raises(ScaleError, match=said) if said else nullcontext():
        clusters.local_cluster(machines=2, cores=4)
