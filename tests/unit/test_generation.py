from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from course_utils import generation
from course_utils.generation import (
    Answer,
    CourseLLM,
    _common,
    cite,
    cited_page,
    copy_from,
    extract_with,
    generate,
    generate_and_score,
    next_tokens,
    option_scores,
    rag_chat,
    sentences,
    supporting_page,
)
from course_utils.models import Endpoint, LanguageModel


def hit(page: str, text: str) -> NodeWithScore:
    node = TextNode(text=text, metadata={"title": page.title()})
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=page)
    return NodeWithScore(node=node, score=1.0)


FOUND = [hit("ports", "lampd listens on 7204."), hit("owners", "Tobias Renn leads the team.")]


def test_the_prompt_numbers_the_sources_and_ends_with_the_question() -> None:
    content = rag_chat("which port?", FOUND)[-1]["content"]
    assert "[1] Ports\nlampd listens on 7204." in content
    assert content.index("[1]") < content.index("[2] Owners")
    assert content.endswith("Question: which port?")


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("7204 [1]", "ports"),
        ("[2] and [1]", "owners"),
        ("[7], or [2]", "owners"),
        ("[0]", None),
        ("source 1", None),
        ("", None),
    ],
)
def test_citations_are_parsed(text: str, page: str | None) -> None:
    assert cited_page(text, FOUND) == page


def test_support_goes_by_shared_words() -> None:
    assert supporting_page("Tobias Renn", FOUND) == "owners"
    assert supporting_page("port 7204", FOUND) == "ports"
    assert supporting_page("nothing alike", FOUND) is None
    assert supporting_page("anything", []) is None


def test_answers_cite_what_they_name_or_else_what_supports_them() -> None:
    texts = ["Tobias Renn [1]", "Tobias Renn", "Tobias Renn"]
    assert cite(texts, [FOUND, FOUND, []]) == [
        Answer("Tobias Renn [1]", "ports"),
        Answer("Tobias Renn", "owners"),
        Answer("Tobias Renn", None),
    ]


def test_the_extractive_reader_quotes_the_nearest_sentence(embedder: Any) -> None:
    answers = extract_with(embedder, ["who leads the team?", "empty"], [FOUND, []])
    assert (answers[0].text, answers[0].page) == ("Tobias Renn leads the team.", "owners")
    assert (answers[1].text, answers[1].page) == ("", None)


class _Tokens:
    def convert_ids_to_tokens(self, token: int) -> str:
        return {1: "Ġa", 2: "b", 3: "Ġc", 4: "Ċ"}[token]


@pytest.mark.parametrize(
    ("said", "allowed"), [([], [1, 3, 1, 4]), ([1], [2, 4]), ([1, 2], [3]), ([4], []), ([2, 2], [])]
)
def test_copying_continues_a_stretch_of_the_source(said: list[int], allowed: list[int]) -> None:
    assert next_tokens([1, 2, 3, 1, 4], said, _Tokens()) == allowed


def test_sentences_take_rows_items_and_lines_apart() -> None:
    text = "One. Two!\n- three\n| a | b |\n|---|---|\n\nFour 1.5 s?"
    assert sentences(text) == ["One.", "Two!", "- three", "| a | b |", "Four 1.5 s?"]


class _Chat(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = f"{asked['model']}: {asked['messages'][-1]['content']}"
        message = {"role": "assistant", "content": words}
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_an_openai_compatible_endpoint_answers() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "echo")
    assert generate(endpoint, [[{"role": "user", "content": "hi"}]]) == ["echo: hi"]
    assert CourseLLM(endpoint).complete("there").text == "echo: there"
    server.shutdown()


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 4, 5]], 2),
        ([[1, 2], [1, 2]], 1),  # one token is left to go on from
        ([[1, 2, 3]], 2),
        ([[1, 2], [3]], 0),
    ],
)
def test_what_prompts_share(prompts: list[list[int]], shared: int) -> None:
    assert _common(prompts) == shared


@pytest.mark.parametrize("tokens_per_batch", [60, 4096])
@pytest.mark.parametrize("read_tokens", [1, 24, 4096])
def test_a_shared_prefix_changes_no_answer(
    llm: LanguageModel,
    tokens_per_batch: int,
    read_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    earlier = [
        {"role": "user", "content": "what is the port of lampd ?"},
        {"role": "assistant", "content": "1 2"},
    ]
    asked = ["ferry ?", "what is the port of cellar ?", "lampd 3 4 5", "1"]
    chats = [[*earlier, {"role": "user", "content": text}] for text in asked]
    plain = [generate(llm, [chat], 6)[0] for chat in chats]
    assert len(set(plain)) > 1
    monkeypatch.setattr(generation, "READ_TOKENS", read_tokens)
    assert generate(llm, chats, 6, tokens_per_batch, shared_prefix=True) == plain
    assert generate(llm, chats, 6, tokens_per_batch) == plain
    with torch.inference_mode():
        ours = llm.model.generate(  # transformers' own cache, one prompt and no padding
            **llm.tokenizer.pad(
                {"input_ids": generation._prompts(llm, chats[:1])}, return_tensors="pt"
            ),
            max_new_tokens=6,
            do_sample=False,
        )
    assert llm.tokenizer.decode(ours[0], skip_special_tokens=True).endswith(plain[0])


@pytest.mark.parametrize("tokens_per_batch", [1, 60, 4096])
@pytest.mark.parametrize("read_tokens", [1, 24, 4096])
def test_reading_once_gives_what_reading_twice_gives(
    llm: LanguageModel,
    tokens_per_batch: int,
    read_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generation, "READ_TOKENS", read_tokens)
    asked = ["ferry ?", "what is the port of cellar ?", "lampd 3 4 5", "1"]
    chats = [[{"role": "user", "content": text}] for text in asked]
    options = [["1", "2 3"], ["lampd", "ferry 4", "1 2 3"], ["5"], ["what is", "port"]]
    texts, scores = generate_and_score(llm, chats, options, 6, tokens_per_batch)
    assert texts == [generate(llm, [chat], 6)[0] for chat in chats]
    assert len(set(texts)) > 1
    for chat, some, got in zip(chats, options, scores, strict=True):
        assert np.allclose(got, option_scores(llm, chat, some), atol=1e-5)


def test_option_scores_are_the_models_own_loss(llm: LanguageModel) -> None:
    chat = [{"role": "user", "content": "what is the port ?"}]
    prompt = llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    scores = option_scores(llm, chat, ["1", "2 3 4"])
    for ids, score in zip([[14], [15, 16, 17]], scores, strict=True):
        labels = torch.tensor([[-100] * len(prompt) + ids])
        loss = llm.model(torch.tensor([prompt + ids]), labels=labels).loss.item()
        assert score == pytest.approx(-loss, abs=1e-5)


# --- remembering ----------------------------------------------------------------------------------


ASKED = [[{"role": "user", "content": text}] for text in ("what is ferry", "the port of lampd ?")]
BEGUN = [[*chat, {"role": "assistant", "content": "the"}] for chat in ASKED]
PORTS = [["1", "2 3"], ["4", "5"]]
REMEMBERED = {
    "generate": lambda llm: generate(llm, ASKED, 4),
    "copy": lambda llm: copy_from(llm, BEGUN, ["lampd port 1 2", "ferry port 3"], 4),
    "options": lambda llm: option_scores(llm, ASKED[0], PORTS[0]).tolist(),
    "both": lambda llm: [
        (text, four.tolist())
        for text, four in zip(*generate_and_score(llm, ASKED, PORTS, 4), strict=True)
    ],
}


class Counted:
    """A model that counts how often it is run."""

    def __init__(self, model: Any) -> None:
        self.model, self.runs = model, 0

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        self.runs += 1
        return self.model(*arguments, **settings)

    def generate(self, *arguments: Any, **settings: Any) -> Any:
        self.runs += 1
        return self.model.generate(*arguments, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


@pytest.mark.parametrize("ask", REMEMBERED.values(), ids=REMEMBERED)
def test_what_was_asked_before_is_read_from_disk(llm: LanguageModel, ask: Any) -> None:
    expected = ask(llm)
    counted = Counted(llm.model)
    mindful = replace(llm, model=counted, remember=True)
    assert ask(mindful) == expected and counted.runs > 1
    counted.runs = 0
    assert ask(mindful) == expected and counted.runs == 1  # its fingerprint


@pytest.mark.parametrize("ask", REMEMBERED.values(), ids=REMEMBERED)
def test_another_model_remembers_nothing_of_it(llm: LanguageModel, ask: Any) -> None:
    mindful = replace(llm, remember=True)
    ask(mindful)
    with torch.no_grad():
        next(llm.model.parameters()).mul_(-3)
    assert ask(mindful) == ask(llm)


def test_only_what_is_new_is_computed_and_settings_count(llm: LanguageModel) -> None:
    counted = Counted(llm.model)
    mindful = replace(llm, model=counted, remember=True)
    first = generate(mindful, ASKED[:1] * 3, 4)
    assert counted.runs == 3 and len(set(first)) == 1  # for the fingerprint, to read, to write
    assert generate(mindful, ASKED, 4)[0] == first[0] and counted.runs == 6
    assert generate(mindful, ASKED, 2) == generate(llm, ASKED, 2)
    drawn = {generate(mindful, ASKED[:1], 8, temperature=3.0, seed=seed)[0] for seed in range(5)}
    assert len(drawn) > 1  # what is drawn is never remembered
