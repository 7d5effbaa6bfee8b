"""Constrained decoding: nothing but JSON that fits a schema. Notebook 06."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch

from course_utils.files import InputError
from course_utils.models.generator import LanguageModel


class Grammar:
    """A JSON schema that decoding may not leave, by llguidance.

    After each token it masks all those of the vocabulary with which no JSON of the schema can go
    on. The form is then right whatever the model knows; what stands in it is still the model's.
    """

    def __init__(self, llm: LanguageModel, schema: Mapping[str, Any]) -> None:
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        self._words = llm.model.get_output_embeddings().weight.shape[0]
        self._end = llm.tokenizer.eos_token_id
        spaced = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=spaced)  # type: ignore[arg-type]
        self._fresh = LLMatcher(from_tokenizer(llm.tokenizer, self._words), grammar)
        if self._fresh.is_error():
            raise InputError(f"The schema cannot be decoded by: {self._fresh.get_error()}")

    def mask(self, rows: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """A logits processor for a batch of so many chats."""
        from llguidance.numpy import allocate_token_bitmask, apply_token_bitmask_inplace
        from llguidance.numpy import fill_next_token_bitmask as fill

        states = [self._fresh.deep_copy() for _ in range(rows)]
        bits = allocate_token_bitmask(1, self._words)
        began = False

        def allow(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            nonlocal began
            for row, state in enumerate(states):
                if began and not state.is_stopped():
                    state.consume_token(int(ids[row, -1]))
                if state.is_stopped():
                    scores[row] = -torch.inf
                    scores[row, self._end] = 0
                else:
                    fill(state, bits)
                    apply_token_bitmask_inplace(scores[row : row + 1].numpy(), bits)
            began = True
            return scores

        return allow
