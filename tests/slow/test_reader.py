"""The reader itself, served by llama.cpp: answers, probabilities, a grammar, streaming, memory."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import httpx
import numpy as np
import pytest
from llama_index.llms.openai_like import OpenAILike

from course_utils.generate.chat_api import ask, option_probabilities, stream
from course_utils.models.endpoints import EmbeddedModel
from course_utils.models.fetching import is_fetched
from course_utils.models.generator import load_reader
from course_utils.models.registry import DEFAULTS

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        not is_fetched(DEFAULTS["reader"]),
        reason="NOT CHECKED: the reader, which `course models fetch reader` brings.",
    ),
]
CHAT = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]


@pytest.fixture(scope="module")
def llm() -> EmbeddedModel:
    loaded = load_reader(DEFAULTS["reader"])
    assert isinstance(loaded, EmbeddedModel)
    return dataclasses.replace(loaded, remember=False)


def test_it_answers_and_streams_the_same(llm: EmbeddedModel) -> None:
    (answer,) = ask(llm, [CHAT], 8)
    assert answer.startswith("Paris")
    assert "".join(stream(llm, CHAT, 8)) == answer


def test_options_have_probabilities(llm: EmbeddedModel) -> None:
    question = "Which is the capital of France? (a) Rome (b) Paris (c) Oslo. Reply with a letter."
    chat = [{"role": "user", "content": question}]
    shares = option_probabilities(llm, [chat], ["a", "b", "c"])[0]
    assert shares.argmax() == 1 and np.isclose(shares.sum(), 1)


def test_a_grammar_keeps_the_schema(llm: EmbeddedModel) -> None:
    fields = {"city": {"type": "string"}, "rivers": {"type": "integer"}}
    schema = {"type": "object", "properties": fields, "required": ["city", "rivers"]}
    (text,) = ask(llm, [[{"role": "user", "content": "Describe Paris."}]], 64, schema=schema)
    assert json.loads(text).keys() == fields.keys()


def test_other_programs_may_use_it(llm: EmbeddedModel) -> None:
    served = httpx.get(f"{llm.address()}/models", trust_env=False).json()
    assert served["data"]
    theirs = OpenAILike(
        model=llm.name, api_base=llm.address(), api_key="none", is_chat_model=True, max_tokens=8
    )
    assert theirs.complete(CHAT[0]["content"]).text.startswith("Paris")


def test_it_fits_beside_a_kernel() -> None:
    code = (
        "import psutil\n"
        "from course_utils.models.generator import load_reader\n"
        "load_reader().address()\n"
        "print(psutil.Process().memory_info().rss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 2.3e9
