"""Which models the course uses, where they come from, and the hashes they must have.

Environment variables
    COURSE_CACHE      the cache folder (default: the platform's user cache folder)
    COURSE_EMBEDDER   a registry name, a local folder or a hub id
    COURSE_GENERATOR  the same, a GGUF file, or an OpenAI-compatible endpoint:
                      ``https://host/v1#model-name``
    COURSE_RERANKER   a cross-encoder's local folder or hub id; none is registered
    COURSE_DTYPE      ``float32`` (default: the same answers on every CPU) or ``bfloat16``
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import yaml

from course_utils.files import CourseError

Role = Literal["embedder", "generator", "word vectors", "reranker", "reader"]
Group = Literal["small", "reader", "all"]
DEFAULTS: dict[Role, str] = {
    "embedder": "all-MiniLM-L6-v2",
    "generator": "SmolLM2-135M-Instruct",
    "reader": "Qwen2.5-Coder-1.5B-Instruct",
}
MANIFEST = "manifest.json"  # in a model's folder: the hash of each of its files


class ModelError(CourseError):
    """A model cannot be fetched, verified or loaded; the message says what to do."""


@dataclass(frozen=True)
class Weights:
    """One entry of ``registry.yaml``, which explains the fields."""

    name: str
    role: Role
    hub_id: str
    requirement: str
    member: str
    weights_sha256: str
    download_bytes: int
    licence: str
    wheel_sha256: str = ""
    group: Group = "small"
    parts: int = 0
    hub_file: str = ""
    tokenizer: str = ""
    pip_options: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """Where it comes from, for people: one package, or the first and last of several."""
        if not self.parts:
            return self.requirement
        first, last = (self.requirement.format(n=n) for n in (1, self.parts))
        return f"{first} to {last}"


def _read_registry() -> dict[str, Weights]:
    text = Path(__file__).with_name("registry.yaml").read_text(encoding="utf8")
    return {name: Weights(name, **fields) for name, fields in yaml.safe_load(text).items()}


REGISTRY = _read_registry()


def members_of(group: str) -> list[Weights]:
    """The models that a group brings.

    Args:
        group: "small" is what every notebook may need, "reader" the model that answers in the
            notebooks on RAG, "all" is everything.

    Raises:
        ModelError: there is no such group.
    """
    if group not in get_args(Group):
        raise ModelError(f"Fetch {', '.join(get_args(Group)[:-1])} or all, not {group!r}.")
    return [each for each in REGISTRY.values() if group in (each.group, "all")]


def registered(name: str) -> Weights:
    """The registry's entry of a name.

    Raises:
        ModelError: there is none.
    """
    if name not in REGISTRY:
        raise ModelError(
            f"Unknown model {name!r}: use one of {', '.join(REGISTRY)}, a local folder, "
            "or a hub id such as 'owner/model'."
        )
    return REGISTRY[name]
