"""Models behind the OpenAI-compatible chat API: any endpoint, or a GGUF file served from here.

llama.cpp serves the file inside this process, at an address of this computer that other programs
may use too. It starts when the first question is asked that no recording answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from course_utils.models.fetching import gguf_file, is_fetched
from course_utils.models.registry import REGISTRY, ModelError

CONTEXT = 8192  # tokens of a prompt and its answer


@dataclass
class Endpoint:
    """A chat endpoint; its key, if it needs one, is read from OPENAI_API_KEY.

    Args:
        url: up to and including ``/v1``.
        name: of the model, as the endpoint calls it.
        requests: how many questions it is asked at once.
        remember: answers are kept in the cache folder, so you never pay for one twice.
    """

    url: str
    name: str
    requests: int = 4
    remember: bool = True
    # What its replies have shown: settings that it refuses, and "answers" once it gave one.
    known: set[str] = field(default_factory=set, compare=False, repr=False)
    version: ClassVar[int] = 1  # part of every answer's key: raise it when the requests change
    patience: ClassVar[int] = 120  # seconds before a request times out

    def address(self) -> str:
        """Where to send requests."""
        return self.url

    def fingerprint(self) -> str:
        """What stands for the model in the cache folder.

        At one address of this computer, different models are served one after the other, some
        under any name: what the server says about its models is part of it.
        """
        served = _served_models(self.url) if is_local(self.url) else ""
        return f"{self.url}#{self.name}{served}"

    def recorded_as(self) -> str:
        """The hash under which recordings hold its answers; "" if they hold none."""
        return ""


@dataclass
class EmbeddedModel(Endpoint):
    """A GGUF file that llama.cpp serves, with one question at a time on all cores."""

    requests: int = 1
    sha256: str = ""  # of the file, for a model of the registry
    patience: ClassVar[int] = 1800

    def address(self) -> str:
        if not self.sha256:
            return start_server(Path(self.name))
        weights = REGISTRY[self.name]
        if weights.group != "small" and not is_fetched(self.name):
            size = f"{weights.download_bytes / 1e9:.1f} GB"
            raise ModelError(
                f"This answer is not recorded, and {self.name} is not here: run `python -m "
                f"course_utils models fetch {weights.group}` ({size}), or set COURSE_GENERATOR to "
                "an endpoint's address."
            )
        return start_server(gguf_file(self.name))

    def fingerprint(self) -> str:
        if self.sha256:
            return self.sha256
        stat = Path(self.name).stat()  # hashing gigabytes would take longer than many answers
        return f"{Path(self.name).resolve()} {stat.st_size} {stat.st_mtime_ns}"

    def recorded_as(self) -> str:
        return self.sha256


def embedded(name: str) -> EmbeddedModel:
    """A model of the registry that has a GGUF file, or a GGUF file.

    Raises:
        ModelError: there is no such model or file.
    """
    if name in REGISTRY:
        return EmbeddedModel("", name, sha256=REGISTRY[name].weights_sha256)
    if not Path(name).expanduser().is_file():
        raise ModelError(f"There is no file {name}; the course's models: {', '.join(REGISTRY)}.")
    return EmbeddedModel("", str(Path(name).expanduser()))


def endpoint_at(address: str) -> Endpoint:
    """An endpoint from ``https://host/v1#model-name``.

    Raises:
        ModelError: the name is missing.
    """
    url, _, name = address.partition("#")
    if not name:
        raise ModelError(f"Name the endpoint's model after a '#': {url}#model-name.")
    return Endpoint(url.rstrip("/"), name)


def is_local(address: str) -> bool:
    """Whether an address is on this computer."""
    return urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")


def _served_models(url: str) -> str:
    import httpx

    with contextlib.suppress(httpx.HTTPError, ValueError, AttributeError, KeyError, TypeError):
        models = httpx.get(f"{url}/models", timeout=5, trust_env=False).json()["data"]
        for model in models:
            model.pop("created", None)  # some servers put the time of the request there
        return json.dumps(models, sort_keys=True)
    return ""


_running: dict[Path, Any] = {}  # at most one server: its weights take a gigabyte
_starting = threading.Lock()


def start_server(path: Path, context: int = CONTEXT) -> str:
    """Start llama.cpp on a GGUF file, or find it running.

    Args:
        path: the file.
        context: tokens of a prompt and its answer that fit.

    Returns:
        The server's address, ``http://127.0.0.1:port/v1``.

    Raises:
        ModelError: llama.cpp is not installed, or cannot read the file.
    """
    with _starting:
        if path not in _running:
            _running.clear()
            _running[path] = _start(path, context)
        return f"{_running[path].listening_address}/v1"


def _start(path: Path, context: int) -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelError(
            "llama.cpp is missing: `pip install xllamacpp`, or set COURSE_GENERATOR to the address "
            "of an endpoint (https://host/v1#model)."
        ) from error
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx, settings.n_parallel = context, 1
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    # Without a memory map, and with small batches, it takes a third less memory.
    settings.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    settings.n_batch, settings.n_ubatch = 512, 128
    settings.cache_ram_mib = 0  # the prompt before is kept anyhow; more could grow to gigabytes
    settings.verbosity = -1
    settings.enable_reasoning = 0
    settings.warmup = False
    try:
        return xllamacpp.Server(settings)
    except Exception as error:  # llama.cpp's own message goes to the log
        raise ModelError(
            f"llama.cpp cannot load {path} ({error}); run `course models verify`, and check that "
            "2 GB of memory are free."
        ) from error
