"""The embedding step on a Ray cluster, of processes here or of many machines.

Only an address tells the two apart. Ray comes with the extra ``scale`` and is imported where it is
used.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode

from course_utils.files import CourseError
from course_utils.models.embedding import Embedder, load_embedder

START_SECONDS = 300  # after which it is said that the cluster has too few cores for all workers
STORE_BYTES = 80 * 1024**2  # of each local Ray node's object store, the least that Ray takes
# Ray reports to its makers and talks on every channel there is; its logs are in its own folder.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}


class ScaleError(CourseError):
    """The extra is missing, an address cannot be used, or something was lost or doubled."""


def import_extra(module: str) -> Any:
    """Import a package of the extra, or say in one sentence how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ScaleError(
            f"{module} is missing ({error}): run `pip install -c constraints.txt -e '.[scale]'` in "
            "the course's folder and restart the kernel."
        ) from None


def load_ray() -> Any:
    """Import Ray with its parts, quietly."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for part in ("ray.data", "ray.cluster_utils"):
        import_extra(part)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is raised
    return import_extra("ray")


@dataclass(frozen=True)
class Part:
    """A batch that one worker embedded: the nodes' places, their vectors, and the machine."""

    places: np.ndarray
    vectors: np.ndarray
    machine: str


class Worker:
    """Loads the model once, in a process of its own, and embeds batch after batch."""

    def __init__(self, load: Callable[[], Embedder], fingerprint: str) -> None:
        self.machine = import_extra("ray").get_runtime_context().get_node_id()
        self.embedder = load()
        if fingerprint and self.embedder.fingerprint != fingerprint:
            raise ScaleError(f"Machine {self.machine} has another embedder; give it the same one.")

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        vectors = self.embedder.encode([str(text) for text in batch["text"]])
        machines = np.full(len(vectors), self.machine)
        return {"place": batch["place"], "vector": vectors, "machine": machines}


def embed_stream(
    nodes: Sequence[BaseNode],
    address: str | None = None,
    workers: int = 2,
    batch: int = 64,
    load: Callable[[], Embedder] = load_embedder,
    fingerprint: str = "",
) -> Iterator[Part]:
    """Embed nodes on a cluster, in batches that come back in any order.

    A worker that dies is started again on a machine that is left, and what it had not delivered
    is computed again.

    Args:
        nodes: n nodes; title and text are embedded.
        address: a cluster's, ``host:6379``; None starts Ray on this machine alone.
        workers: processes, one core each, spread over the machines.
        batch: nodes that a worker takes at a time, and the most that a death costs it.
        load: makes the embedder, in each worker.
        fingerprint: what all their embedders must have; not looked at when empty.

    Raises:
        ScaleError: Ray is missing, no cluster answers at the address, it has too few cores, or a
            worker cannot load its embedder or has another one.
    """
    if not nodes:
        return
    ray = load_ray()
    _connect(ray, address)
    texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
    # Longest first: a batch then holds texts of nearly one length, and the last ones are quick.
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
    rows = [{"place": place, "text": texts[place]} for place in order]
    embedded = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / batch))
    embedded = embedded.map_batches(
        Worker,
        fn_constructor_kwargs={"load": load, "fingerprint": fingerprint},
        batch_size=None,  # a whole block
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    try:
        for got in embedded.iter_batches(batch_size=None, prefetch_batches=0):
            yield Part(got["place"], np.stack(got["vector"]), str(got["machine"][0]))
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise ScaleError(f"The cluster could not embed: {last}") from error


def gather(parts: Iterable[Part], n: int) -> np.ndarray:
    """Put the parts together in the order of the nodes.

    Raises:
        ScaleError: a node's vector is missing, or came twice.
    """
    rows: dict[int, np.ndarray] = {}
    for part in parts:
        for place, vector in zip(part.places.tolist(), part.vectors, strict=True):
            if place in rows:
                raise ScaleError(f"The vector of node {place} came twice.")
            rows[place] = vector
    if len(rows) != n:
        raise ScaleError(f"{n - len(rows)} of {n} vectors are missing.")
    return np.stack([rows[place] for place in range(n)])


def local_cluster(machines: int = 2, cores: int = 2) -> Any:
    """A Ray cluster of several nodes on this machine, each with processes of its own.

    Args:
        machines: nodes that work; one more, the head, has no core and only keeps the books.
        cores: of each node, as Ray counts them; the real ones are shared.

    Returns:
        ray's ``Cluster``: its ``address``, ``worker_nodes``, ``remove_node`` and ``shutdown``.
    """
    ray = load_ray()
    each: dict[str, Any] = {"object_store_memory": STORE_BYTES}
    # A dead node is noticed after 5 s; Ray's own 15 s suit real networks.
    head = each | {"num_cpus": 0, "include_dashboard": False}
    head["_system_config"] = {"health_check_period_ms": 1000}
    cluster = ray.cluster_utils.Cluster()
    with _starting():
        for node in (head, *[each | {"num_cpus": cores}] * machines):
            for tries_left in (2, 1, 0):  # a busy machine can take longer than Ray waits
                try:
                    cluster.add_node(**node)
                    break
                except Exception:  # Ray raises just this
                    if not tries_left:
                        raise
        cluster.wait_for_nodes()
    return cluster


def _connect(ray: Any, address: str | None) -> None:
    if address:
        host, _, port = address.rpartition(":")
        try:  # Ray itself would knock for ten minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            raise ScaleError(f"No Ray cluster answers at {address}: is it started?") from error
    if not ray.is_initialized():
        own = {} if address else {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        with _starting():
            ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **own)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.wait_for_min_actors_s = START_SECONDS


@contextmanager
def _starting() -> Iterator[None]:
    """Say in a sentence what fails, and keep stderr clear of what Ray's C++ half writes there."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    except Exception as error:
        raise ScaleError(f"Ray did not start; on a busy machine, try again. ({error})") from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)
