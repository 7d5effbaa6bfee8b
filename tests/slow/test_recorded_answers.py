"""A small sample of the recorded answers and vectors is asked for again, and they agree.

The sample is drawn with a seed that changes with each release. A likelihood may differ in its last
digits, because processors and batches differ. So a text is compared as it is, likelihoods within
a tolerance, and one text of each file may be another one.
"""

from __future__ import annotations

import dataclasses
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_utils.generate import chat_api
from course_utils.generate.decoding import generate
from course_utils.lab.query_likelihood import likelihoods
from course_utils.models.embedding import load_embedder
from course_utils.models.endpoints import embedded
from course_utils.models.fetching import is_fetched
from course_utils.models.generator import LanguageModel, load_generator
from course_utils.models.recorded_vectors import digest_of, read_vectors, vectors_file
from course_utils.models.recordings import RECORDINGS, read_recording
from course_utils.search.chunking import chunk_documents
from course_utils.tasks.copying import copy_from
from course_utils.tasks.handbook import load_handbook, load_questions
from course_utils.tasks.options import generate_and_score, option_scores
from course_utils.tune.losses import loss_on

SAMPLE = 3  # answers of each recording
NATS = 1e-3  # by which a likelihood per token, or its sum over a dozen tokens, may differ
TOLERANCE = {False: NATS, True: 0.05}  # llama.cpp's probabilities depend on what it read before
# Sentences that the model words as it likes: another build of llama.cpp ends them differently, and
# only how they begin is compared.
FREELY_WORDED, BEGINNING = "02_chunking", 3  # words
FILES = sorted(RECORDINGS.glob("*.jsonl"))
pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    loaded = load_generator()
    assert isinstance(loaded, LanguageModel)
    return loaded


def ask(llm: LanguageModel, name: str, key: list[Any], item: Any) -> tuple[str, list[float]]:
    """The text and the likelihoods of one answer, "" and [] where it has none."""
    kind, *settings = key
    if kind in ("chat", "choose"):
        served = dataclasses.replace(embedded(name), remember=False)
        if kind == "choose":
            return "", chat_api.option_probabilities(served, [item], *settings)[0].tolist()
        body = settings[0]
        return chat_api.ask(served, [item], body["max_tokens"])[0], []
    if kind == "generate":
        most, schema = settings
        return generate(llm, [item], most, schema=schema)[0], []
    if kind == "both":
        (text,), (scores,) = generate_and_score(llm, [item[0]], [item[1]], *settings)
        return text, scores.tolist()
    if kind == "options":
        return "", option_scores(llm, *item).tolist()
    if kind == "copy":
        ((text, score),) = copy_from(llm, [item[0]], [item[1]], *settings)
        return text, [score]
    if kind == "likelihood":
        return "", likelihoods(llm, settings[0], [item])
    assert kind == "loss", kind
    return "", loss_on(llm, [item]).tolist()


def recorded(key: list[Any], answer: Any) -> tuple[str, list[float]]:
    kind = key[0]
    if kind in ("generate", "chat"):
        return answer, []
    if kind in ("both", "copy"):
        return answer[0], np.atleast_1d(answer[1]).tolist()
    return "", np.atleast_1d(answer).tolist()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_sample_asked_again_is_answered_alike(path: Path, llm: LanguageModel) -> None:
    recording = read_recording(path)
    name, lines = recording.header["model"], list(recording.lines.values())
    if not is_fetched(name):
        pytest.skip(f"NOT CHECKED: answers of {name}; `course models fetch all` brings it.")
    drawn = random.Random(version("rag-or-finetuning")).sample(lines, min(SAMPLE, len(lines)))
    other = []
    for line in drawn:
        text, scores = ask(llm, name, line["ask"], line["item"])
        wanted, likely = recorded(line["ask"], line["answer"])
        same = text == wanted
        if path.name.startswith(FREELY_WORDED):
            same = text.split()[:BEGINNING] == wanted.split()[:BEGINNING]
        if not same:
            other.append(f"{wanted!r} is now {text!r}")
        else:
            np.testing.assert_allclose(scores, likely, atol=TOLERANCE[line["ask"][0] == "choose"])
    assert len(other) <= 1, other


def test_a_sample_of_vectors_is_computed_alike() -> None:
    """Of the chunks that most notebooks share, and of the test questions."""
    embedder = load_embedder()
    recording = read_vectors(vectors_file("all-MiniLM-L6-v2"))
    chunks = chunk_documents(load_handbook(week=1), embedder.tokenizer, 96)
    texts = [chunk.get_content("embed") for chunk in chunks]  # type: ignore[arg-type]
    draw = random.Random(version("rag-or-finetuning")).sample
    asked = [question.text for question in load_questions("test", "stress")]
    drawn = [*draw(texts, 48), *draw(asked, 16)]
    keys = [f"{embedder.fingerprint}\0{text}" for text in drawn]
    recorded = np.stack([recording.vectors[digest_of(key)] for key in keys])
    np.testing.assert_allclose(embedder.encode(drawn), recorded, atol=3e-4)  # kept in 16 bits
