"""A generator as a LlamaIndex LLM. Notebook 01."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.llms import (
    ChatMessage,
    CompletionResponse,
    CompletionResponseGen,
    CustomLLM,
    LLMMetadata,
)
from llama_index.core.llms.callbacks import llm_completion_callback
from pydantic import PrivateAttr

from course_utils.generate.decoding import generate
from course_utils.models.generator import Endpoint, LanguageModel


class CourseLLM(CustomLLM):
    """A generator as a LlamaIndex LLM, for query engines and everything else that takes one."""

    max_new_tokens: int = 16
    _llm: LanguageModel | Endpoint = PrivateAttr()

    def __init__(self, llm: LanguageModel | Endpoint, **settings: Any) -> None:
        super().__init__(**settings)
        self._llm = llm

    @classmethod
    def class_name(cls) -> str:
        return "CourseLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            model_name=self._llm.name, context_window=8192, num_output=self.max_new_tokens
        )

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        chat = [{"role": "user", "content": prompt}]
        return CompletionResponse(text=generate(self._llm, [chat], self.max_new_tokens)[0])

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **_: Any
    ) -> CompletionResponseGen:
        whole = self.complete(prompt).text
        yield CompletionResponse(text=whole, delta=whole)

    def messages_to_prompt(self, messages: Sequence[ChatMessage]) -> str:  # type: ignore[misc]
        return "\n\n".join(message.content or "" for message in messages)
