from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.core import Document
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from course_utils.generate import decoding
from course_utils.generate.citing import Answer, cite, cited_page, supporting_page
from course_utils.generate.decoding import common_prefix, generate
from course_utils.generate.prompting import rag_chat
from course_utils.lab.llamaindex import CourseLLM
from course_utils.models.generator import Endpoint, LanguageModel
from course_utils.tasks.copying import CopyReader, copy_from, next_tokens
from course_utils.tasks.options import generate_and_score, option_scores


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


def test_whole_pages_are_cited_and_read(llm: LanguageModel) -> None:
    texts = {"ports": "lampd listens on 7204.", "owners": "Tobias Renn leads the team."}
    pages = [
        NodeWithScore(node=Document(id_=name, text=text, metadata={"title": "of ferry"}))
        for name, text in texts.items()
    ]
    assert cited_page("so it is [2]", pages) == "owners"
    assert supporting_page("Tobias Renn", pages) == "owners"
    assert [answer.page for answer in cite(["7204 [1]", "Renn"], [pages, pages])] == [
        "ports",
        "owners",
    ]
    assert CopyReader(llm)(["what is the port ?"], [pages[:1]])[0].page == "ports"


class _Tokens:
    def convert_ids_to_tokens(self, token: int) -> str:
        return {1: "Ġa", 2: "b", 3: "Ġc", 4: "Ċ"}[token]


@pytest.mark.parametrize(
    ("said", "allowed"), [([], [1, 3, 1, 4]), ([1], [2, 4]), ([1, 2], [3]), ([4], []), ([2, 2], [])]
)
def test_copying_continues_a_stretch_of_the_source(said: list[int], allowed: list[int]) -> None:
    assert next_tokens([1, 2, 3, 1, 4], said, _Tokens()) == allowed


def fast(model: Any, pre: Any, decoder: Any, **settings: Any) -> Any:
    raw = Tokenizer(model)
    raw.pre_tokenizer, raw.decoder = pre, decoder
    return PreTrainedTokenizerFast(tokenizer_object=raw, **settings)


def sentencepiece() -> Any:
    """Like Gemma's and Llama 2's: "▁" before each word, words in pieces."""
    pieces = ["<unk>", "<s>", "</s>", "\n", "▁", "▁fer", "ry", "▁port", "s", "▁7", "2", "port"]
    scores = [(piece, -float(n)) for n, piece in enumerate(pieces)]
    tokenizer = fast(
        models.Unigram(scores, unk_id=0),
        pre_tokenizers.Metaspace(),
        decoders.Metaspace(),
        **{"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"},
    )
    tokenizer.padding_side = "left"
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    return tokenizer


def wordpiece() -> Any:
    """Like BERT's: "##" before what goes on with a word."""
    words = ["[UNK]", "fer", "##ry", "port", "##s", "7", "##2"]
    model = models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    return fast(model, pre_tokenizers.WhitespaceSplit(), decoders.WordPiece())


@pytest.mark.parametrize("make", [sentencepiece, wordpiece])
def test_copying_begins_with_a_word_whatever_the_tokenizer_marks(make: Any) -> None:
    tokenizer = make()
    source = tokenizer(" ferry ports 72", add_special_tokens=False)["input_ids"]
    begun = [tokenizer.decode([token]).strip() for token in next_tokens(source, [], tokenizer)]
    assert begun == ["fer", "port", "7"]
    ends = [tokenizer.decode(next_tokens(source, source[:1], tokenizer)).strip(" #")]
    assert ends == ["ry"]


def test_words_that_nothing_marks_may_all_begin(llm: LanguageModel) -> None:
    source = llm.tokenizer(" ferry port 1", add_special_tokens=False)["input_ids"]
    assert next_tokens(source, [], llm.tokenizer) == source


def test_a_line_may_begin_with_its_break() -> None:
    source = sentencepiece()(" ferry\nport", add_special_tokens=False)["input_ids"]
    assert 3 in next_tokens(source, [], sentencepiece())


def test_a_sentencepiece_model_copies() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=12, num_hidden_layers=1, **sizes)).eval()
    reader = CopyReader(LanguageModel("tiny", model, sentencepiece()))
    (answer,) = reader(["ports"], [[NodeWithScore(node=TextNode(text="ferry\nports 72"))]])
    assert not answer.refused and answer.text in "ferry\nports 72"


def test_a_reader_reads_again_what_changed_under_the_same_id(llm: LanguageModel) -> None:
    reader = CopyReader(llm)
    said = []
    for text in ("1 1 1", "4 4 4", "1 1 1"):
        source = NodeWithScore(node=TextNode(id_="p:0-5", text=text))
        (answer,) = reader(["what is the port ?"], [[source]])
        assert set(answer.text.split()) <= set(text.split())
        said.append(answer.text)
    assert said[0] == said[2] != said[1]


@pytest.mark.parametrize("remember", [False, True])
def test_no_chats_give_no_answers(llm: LanguageModel, remember: bool) -> None:
    llm = replace(llm, remember=remember)
    assert (
        generate(llm, [], shared_prefix=True) == generate(llm, []) == copy_from(llm, [], []) == []
    )
    assert generate_and_score(llm, [], []) == ([], [])


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


@pytest.mark.slow
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
    assert common_prefix(prompts) == shared


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
    monkeypatch.setattr(decoding, "READ_TOKENS", read_tokens)
    assert generate(llm, chats, 6, tokens_per_batch, shared_prefix=True) == plain
    assert generate(llm, chats, 6, tokens_per_batch) == plain
    with torch.inference_mode():
        ours = llm.model.generate(  # transformers' own cache, one prompt and no padding
            **llm.tokenizer.pad(
                {"input_ids": decoding.encode_chats(llm, chats[:1])}, return_tensors="pt"
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
    monkeypatch.setattr(decoding, "READ_TOKENS", read_tokens)
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
    assert ask(mindful) == expected and counted.runs == 0  # nor for its fingerprint


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
    assert generate(mindful, ASKED, 4)[0] == first[0] and counted.runs == 5
    assert generate(mindful, ASKED, 2) == generate(llm, ASKED, 2)
    drawn = {generate(mindful, ASKED[:1], 8, temperature=3.0, seed=seed)[0] for seed in range(5)}
    assert len(drawn) > 1  # what is drawn is never remembered
