"""Generators: a local decoder in torch, or a model behind the chat API (see ``endpoints``)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from course_utils.models.endpoints import Endpoint, embedded, endpoint_at
from course_utils.models.fetching import locate
from course_utils.models.registry import DEFAULTS, REGISTRY
from course_utils.models.weights import load_pretrained


@dataclass
class LanguageModel:
    """A local decoder with its tokenizer, padded on the left so that it can decode in batches.

    ``remember`` lets what is asked twice be read from the cache folder the second time.
    """

    name: str
    model: Any  # transformers.PreTrainedModel
    tokenizer: Any  # transformers.PreTrainedTokenizerBase
    remember: bool = False
    sha256: str = ""  # of the file of its weights, for a model of the registry
    version: ClassVar[int] = 1  # part of every answer's key: raise it when decoding changes
    _loaded: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _known: tuple[Any, ...] = field(default=(), init=False, repr=False, compare=False)

    @torch.inference_mode()
    def fingerprint(self) -> str:
        """What decides the answers: how the model, with its adapters, goes on from a fixed text.

        Hashing the weights would take longer than many answers. It is computed again only after a
        weight, an adapter or the chat template has changed.
        """
        state = self._state()
        if self._known[:1] != (state,):
            logits = self.model(torch.arange(8)[None]).logits.float().numpy()
            template = str(self.tokenizer.chat_template).encode()
            digest = hashlib.sha256(logits.tobytes() + template).hexdigest()
            # The parameters are kept so that no other tensor gets one's id.
            self._known = state, digest, list(self.model.parameters())
        return self._known[1]

    def loaded_from(self, sha256: str) -> None:
        """Note that the weights are those of a file now."""
        self.sha256, self._loaded = sha256, self._state()

    def recorded_as(self) -> str:
        """The hash under which recordings hold its answers; "" if it is not as it was loaded."""
        return self.sha256 if self.sha256 and self._state() == self._loaded else ""

    def _state(self) -> list[Any]:
        """What changes when the answers may: weights, adapters and their scale, the template."""
        state: list[Any] = [str(self.tokenizer.chat_template), self.model.training]
        for module in self.model.modules():
            if hasattr(module, "merged_adapters"):  # a layer of peft's
                switches = (module.disable_adapters, module.merged_adapters, module.active_adapters)
                state.append(f"{switches} {getattr(module, 'scaling', None)}")
        for tensor in self.model.parameters():
            # PyTorch counts changes in place, but not those through `.data`, with which peft merges
            # adapters for good: hence some values.
            version = 0 if tensor.is_inference() else tensor._version
            values = tensor.flatten()[:: tensor.numel() // 8 + 1].tolist()
            state.append((id(tensor), version, tensor.data_ptr(), values))
        return state


def load_reader(name: str | None = None) -> LanguageModel | Endpoint:
    """The model that answers from sources: by default Qwen2.5-Coder-1.5B, served by llama.cpp.

    Nothing is loaded or started before the first question that no recording answers.

    Args:
        name: a registry name with a GGUF file, such a file, or ``https://host/v1#model``; also
            what ``load_generator`` loads. Default ``COURSE_GENERATOR`` or the course's reader.

    Raises:
        ModelError: there is no such model.
    """
    other = os.environ.get("COURSE_GENERATOR")
    if other and not name:
        return load_generator(other)
    chosen = name or DEFAULTS["reader"]
    return embedded(chosen) if chosen in REGISTRY else load_generator(chosen)


def load_generator(name: str | None = None, remember: bool = False) -> LanguageModel | Endpoint:
    """Load a generator, or describe the endpoint that stands in for one.

    Args:
        name: a registry name, a folder, a hub id, a GGUF file, or ``https://host/v1#model``;
            default ``COURSE_GENERATOR`` or SmolLM2-135M-Instruct.
        remember: see ``LanguageModel``; not where one measures how long an answer takes.

    Raises:
        ModelError: the model cannot be found or loaded.
    """
    chosen = name or os.environ.get("COURSE_GENERATOR") or DEFAULTS["generator"]
    if chosen.startswith(("http://", "https://")):
        return endpoint_at(chosen)
    if Path(chosen).suffix == ".gguf" or (chosen in REGISTRY and REGISTRY[chosen].role == "reader"):
        return embedded(chosen)
    model, tokenizer = load_pretrained(locate(chosen, "generator"), "AutoModelForCausalLM")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    llm = LanguageModel(chosen, model, tokenizer, remember)
    if chosen in REGISTRY and model.dtype == torch.float32:
        llm.loaded_from(REGISTRY[chosen].weights_sha256)
    return llm
