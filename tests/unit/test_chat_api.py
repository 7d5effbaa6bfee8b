"""What real endpoints do, each played by a local server at an address of its own."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from llama_index.core import QueryBundle
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from course_utils.files import InputError
from course_utils.generate import chat_api
from course_utils.generate.chat_api import ask, option_probabilities, stream
from course_utils.generate.citing import best_source
from course_utils.generate.decoding import generate
from course_utils.generate.pipeline import Pipeline
from course_utils.generate.prompting import checking_chat
from course_utils.generate.reading import CitingReader, read_with
from course_utils.models import endpoints
from course_utils.models.endpoints import EmbeddedModel, Endpoint
from course_utils.models.generator import load_reader
from course_utils.models.registry import DEFAULTS, ModelError

RIGHT = "02:30 UTC"
CHAT = [{"role": "user", "content": "When do backups run?"}]
Reply = tuple[int, Any]
Body = dict[str, Any]


def choice(content: Any, finish: str = "stop", **more: Any) -> Body:
    message = {"role": "assistant", "content": content, **more}
    return {"choices": [{"index": 0, "finish_reason": finish, "message": message}]}


def refuse(setting: str) -> Callable[[Body, int], Reply]:
    def reply(body: Body, _: int) -> Reply:
        said = f"Unsupported: '{setting}' is not supported with this model."
        return (400, {"error": {"message": said}}) if setting in body else (200, choice(RIGHT))

    return reply


def busy(_: Body, n: int) -> Reply:
    return (200, choice(RIGHT)) if n % 4 == 0 else (429, {"error": {"message": "Rate limit"}})


def quota(_: Body, n: int) -> Reply:
    spent = {"error": {"message": "Daily quota exhausted", "type": "insufficient_quota"}}
    return (200, choice(RIGHT)) if n < 3 else (429, spent)


def passing(_: Body, n: int) -> Reply:
    error = {"error": {"message": "Provider returned error", "code": 502}}
    return (200, error if n == 1 else choice(RIGHT))


def written(body: Body, _: int) -> Reply:
    form = body["response_format"]["json_schema"]["schema"]
    return 200, choice(json.dumps(dict.fromkeys(form["properties"], 1)))


def probable(_: Body, __: int) -> Reply:
    shares = {"Yes": 0.5, " yes": 0.1, "no": 0.2, "Perhaps": 0.2}
    tops = [{"token": t, "logprob": float(np.log(p))} for t, p in shares.items()]
    reply = choice("Yes")
    reply["choices"][0]["logprobs"] = {"content": [{"token": "Yes", "top_logprobs": tops}]}
    return 200, reply


EVENTS = "".join(
    f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': piece}}]})}\n\n"
    for piece in ("02:30", " UTC")
)
STREAM = EVENTS + "data: [DONE]\n\n"

QUIRKS: dict[str, Callable[[Body, int], Reply]] = {
    "plain": lambda *_: (200, choice(RIGHT)),
    "no_choices": lambda *_: (200, {"choices": []}),
    "null_choices": lambda *_: (200, {"choices": None, "error": {"message": "full", "code": 429}}),
    "error_in_200": lambda *_: (200, {"error": {"message": "no such model here", "code": 400}}),
    "error_once": passing,
    "error_in_choice": lambda *_: (200, {"choices": [{"error": {"message": "lost", "code": 502}}]}),
    "withheld": lambda *_: (200, choice("", finish="content_filter")),
    "cut": lambda *_: (200, choice("", finish="length")),
    "late_think": lambda *_: (200, choice(f"Backups?\n</think>\n{RIGHT}")),
    "broken": lambda *_: (200, {"choices": {}}),
    "comment_stream": lambda *_: (200, f": wait\n\n{STREAM}"),
    "error_stream": lambda *_: (200, 'data: {"error": {"message": "overloaded", "code": 400}}\n\n'),
    "error_text": lambda *_: (200, {"error": "went away"}),
    "null_content": lambda *_: (200, choice(None, reasoning_content="They ask when")),
    "empty": lambda *_: (200, choice(None)),
    "think": lambda *_: (200, choice(f"<think>\nBackups?\n</think>\n\n{RIGHT}")),
    "think_cut": lambda *_: (200, choice("<think>\nOkay, the user")),
    "max_tokens": refuse("max_tokens"),
    "temperature": refuse("temperature"),
    "busy": busy,
    "quota": quota,
    "stream_only": lambda *_: (200, STREAM),
    "html": lambda *_: (200, "<html><body>Login</body></html>"),
    "list": lambda *_: (200, [1]),
    "not_found": lambda *_: (404, {"error": {"message": "The model `m` does not exist"}}),
    "key": lambda *_: (401, {"error": {"message": "Incorrect API key provided"}}),
    "parts": lambda *_: (200, choice([{"type": "text", "text": RIGHT}, {"type": "image"}])),
    "schema": written,
    "no_schema": lambda *_: (400, {"error": {"message": "response_format is not supported"}}),
    "probable": probable,
    "boom": lambda *_: (500, {"error": {"message": "boom"}}),
    "long": lambda *_: (400, {"error": {"message": "the context holds 8192 tokens"}}),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    seen: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            name = self.path.split("/")[1]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen[name] += 1
            status, reply = QUIRKS[name](body, seen[name])
            if body.get("stream") and name == "plain":
                reply = STREAM
            text = reply if isinstance(reply, str) else json.dumps(reply)
            self.send_response(status)
            kind = "text/event-stream" if text.startswith("data:") else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(chat_api, "WAITS", (0, 0, 0, 0))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))


def at(server: str, quirk: str, **settings: Any) -> Endpoint:
    return Endpoint(f"{server}/{quirk}/v1", "m", **settings)


@pytest.mark.parametrize(
    "quirk",
    [
        "plain",
        "error_once",
        "think",
        "max_tokens",
        "temperature",
        "busy",
        "stream_only",
        "parts",
        "late_think",
        "comment_stream",
    ],
)
@pytest.mark.filterwarnings("ignore:m takes no temperature")
def test_what_is_meant_is_understood(server: str, quirk: str) -> None:
    assert ask(at(server, quirk, requests=1), [CHAT]) == [RIGHT]


@pytest.mark.parametrize("setting", ["max_tokens", "temperature"])
@pytest.mark.filterwarnings("ignore:m takes no temperature")
def test_a_setting_may_be_refused_to_several_at_once(server: str, setting: str) -> None:
    chats = [[{"role": "user", "content": str(n)}] for n in range(8)]
    assert ask(at(server, setting), chats) == [RIGHT] * 8


def test_a_dropped_temperature_is_said(server: str) -> None:
    with pytest.warns(UserWarning, match="answers may vary"):
        ask(at(server, "temperature"), [CHAT])


def test_no_text_is_an_empty_answer(server: str) -> None:
    assert ask(at(server, "empty"), [CHAT]) == [""]


@pytest.mark.parametrize(
    ("quirk", "words"),
    [
        ("no_choices", "no choices in its reply.*try again later"),
        ("null_choices", "sends no answer.*full"),
        ("error_in_200", "no such model here"),
        ("error_text", "went away"),
        ("error_in_choice", "lost"),
        ("error_stream", "overloaded"),
        ("withheld", "content_filter"),
        ("cut", "still thinking"),
        ("broken", "no choices"),
        ("null_content", "still thinking.*max_new_tokens"),
        ("think_cut", "still thinking"),
        ("html", "sends no JSON.*/v1"),
        ("list", "no choices"),
        ("not_found", "no model 'm'.*does not exist"),
        ("key", "OPENAI_API_KEY"),
        ("boom", "status 500 .*boom"),
        ("long", "status 400 .*8192 tokens"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(server: str, quirk: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        ask(at(server, quirk, requests=1), [CHAT])
    assert "\n" not in str(raised.value)


def test_nobody_at_the_address() -> None:
    with pytest.raises(ModelError, match=r"did not answer.*COURSE_GENERATOR"):
        ask(Endpoint("http://127.0.0.1:9/v1", "m"), [CHAT])


@pytest.mark.parametrize("requests", [1, 4])
def test_answers_before_a_spent_quota_are_kept(server: str, requests: int) -> None:
    chats = [[{"role": "user", "content": f"question {n}"}] for n in range(6)]
    llm = at(server, "quota", requests=requests)
    QUIRKS["quota"] = _fresh(quota)
    with pytest.raises(ModelError, match=r"quota.*answers so far are saved"):
        ask(llm, chats)
    asked: list[Body] = []

    def paid(body: Body, _: int) -> Reply:
        asked.append(body)
        return 200, choice(RIGHT)

    QUIRKS["quota"] = paid
    assert ask(llm, chats) == [RIGHT] * 6
    assert len(asked) == 4, "two answers had been kept"


def _fresh(quirk: Callable[[Body, int], Reply]) -> Callable[[Body, int], Reply]:
    """The same, counting from 1 again."""
    count = iter(range(1, 100))
    return lambda body, _: quirk(body, next(count))


def test_a_refused_setting_is_refused_once(server: str) -> None:
    llm = at(server, "max_tokens")
    ask(llm, [CHAT])
    assert llm.known == {"max_tokens", "answers"}


def test_order_is_kept_with_several_at_once(server: str) -> None:
    QUIRKS["echo"] = lambda body, _: (200, choice(body["messages"][0]["content"]))
    chats = [[{"role": "user", "content": str(n)}] for n in range(20)]
    assert ask(at(server, "echo", remember=False), chats) == [str(n) for n in range(20)]


def test_a_schema_is_handed_on_or_its_lack_is_said(server: str) -> None:
    schema = {"type": "object", "properties": {"hour": {"type": "integer"}}}
    (text,) = generate(at(server, "schema"), [CHAT], 32, schema=schema)
    assert json.loads(text) == {"hour": 1}
    with pytest.raises(ModelError, match="JSON schema"):
        generate(at(server, "no_schema"), [CHAT], 32, schema=schema)


def test_probabilities_of_options_are_added_up_over_their_spellings(server: str) -> None:
    shares = option_probabilities(at(server, "probable"), [CHAT, CHAT], ["yes", "no"])
    np.testing.assert_allclose(shares, [[0.75, 0.25]] * 2)
    with pytest.raises(ModelError, match="logprobs"):
        option_probabilities(at(server, "plain"), [CHAT], ["yes", "no"])


def test_an_answer_is_streamed(server: str) -> None:
    assert list(stream(at(server, "plain"), CHAT)) == ["02:30", " UTC"]
    for quirk in ("parts", "max_tokens", "late_think", "busy"):  # these send all of it at once
        assert list(stream(at(server, quirk), CHAT)) == [RIGHT]
    with pytest.raises(ModelError, match="no JSON"):
        list(stream(at(server, "html"), CHAT))
    with pytest.raises(ModelError, match=r"did not answer"):
        list(stream(Endpoint("http://127.0.0.1:9/v1", "m"), CHAT))


# --- the reader -----------------------------------------------------------------------------------

HITS = [
    NodeWithScore(node=TextNode(id_=name, text=text, metadata={"title": name}))
    for name, text in (("lamps", "Lamps are charged at 22:00."), ("backup", "Backups: 02:30 UTC."))
]


def sure(share: float) -> Callable[[Body, int], Reply]:
    """Answers from the second source; is sure of it with a probability."""

    def reply(body: Body, _: int) -> Reply:
        made = choice("02:30 UTC [2].")
        if body.get("logprobs"):
            assert "Answer: 02:30 UTC\n" in body["messages"][-1]["content"]
            tops = [{"token": "yes", "logprob": np.log(share)}]
            tops += [{"token": "no", "logprob": np.log(1 - share)}]
            made["choices"][0]["logprobs"] = {"content": [{"top_logprobs": tops}]}
        return 200, made

    return reply


def test_the_reader_cites_and_says_how_sure_it_is(server: str) -> None:
    QUIRKS["sure"] = sure(0.8)
    (answer,) = CitingReader(at(server, "sure"), threshold=0.5)(["When?"], [HITS])
    assert (answer.text, answer.page, answer.sureness) == (RIGHT, "backup", pytest.approx(0.8))


def test_the_reader_refuses_what_it_is_not_sure_of(server: str) -> None:
    QUIRKS["unsure"] = sure(0.4)
    (answer,) = CitingReader(at(server, "unsure"), threshold=0.5)(["When?"], [HITS])
    assert answer.refused and answer.page is None and answer.sureness == pytest.approx(0.4)


def test_without_a_threshold_no_probabilities_are_needed(server: str) -> None:
    llm = at(server, "plain")
    (answer,) = CitingReader(llm, threshold=0)(["When?"], [HITS])
    assert (answer.text, answer.page, answer.sureness) == (RIGHT, "backup", None)
    assert read_with(llm, ["When?"], [HITS])[0] == answer
    retriever = StaticRetriever(HITS)
    assert Pipeline(retriever, reader=llm).ask("When?") == answer


class StaticRetriever(BaseRetriever):
    """Finds the same for every question."""

    def __init__(self, hits: list[NodeWithScore]) -> None:
        super().__init__()
        self.hits = hits

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.hits


def test_llamaindex_class_for_such_endpoints_plugs_in(server: str) -> None:
    from llama_index.llms.openai_like import OpenAILike

    llm = at(server, "plain")
    theirs = OpenAILike(model=llm.name, api_base=llm.address(), api_key="none", is_chat_model=True)
    assert theirs.complete("When?").text == RIGHT


def test_a_wrong_number_is_corrected_by_the_words_of_the_answer() -> None:
    assert best_source("02:30 UTC [1]", HITS) == HITS[1]
    assert best_source("charged at 22:00 (1).", HITS) == HITS[0]
    assert best_source("Apache License [2]", HITS) == HITS[1]


def test_an_answer_that_is_only_a_number_is_a_refusal(server: str) -> None:
    QUIRKS["points"] = lambda *_: (200, choice("[2]"))
    (answer,) = CitingReader(at(server, "points"), threshold=0.1)(["Which license?"], [HITS])
    assert answer.refused and answer.page is None and answer.sureness == 0.0


def test_an_answer_that_is_only_a_number_is_asked_for_again(server: str) -> None:
    def reply(body: Body, _: int) -> Reply:
        first, *again = [message["content"] for message in body["messages"]]
        assert first == "Quand ? Répondez [n]." and again[:1] in ([], ["[2]"])
        return 200, choice("02:30 UTC [2]" if again else "[2]")

    QUIRKS["again"] = reply
    french: Any = lambda *_: [{"role": "user", "content": "Quand ? Répondez [n]."}]  # noqa: E731
    (answer,) = CitingReader(at(server, "again"), threshold=0, prompt=french)(["Quand ?"], [HITS])
    assert (answer.text, answer.page) == (RIGHT, "backup")


def test_examples_with_both_outcomes_come_before_what_is_checked() -> None:
    *examples, last = checking_chat("When?", RIGHT, HITS[1])
    replies = [message["content"] for message in examples if message["role"] == "assistant"]
    assert replies.count("yes") == replies.count("no") == len(examples) / 4
    assert last["role"] == "user" and "Question: When?" in last["content"]


def test_answers_keep_their_places_beside_refusals(server: str) -> None:
    def reply(body: Body, n: int) -> Reply:
        made: Any = sure(0.8)(body, n)
        if not body.get("logprobs") and "Where?" in body["messages"][0]["content"]:
            return 200, choice("[2]")
        return made

    QUIRKS["some"] = reply
    asked, hits = ["Where?", "Who?", "When?"], [HITS, [], HITS]
    answers = CitingReader(at(server, "some"), threshold=0.5)(asked, hits)
    assert [answer.text for answer in answers] == ["", "", RIGHT]


def test_no_hits_are_a_refusal(server: str) -> None:
    assert CitingReader(at(server, "plain"))(["When?"], [[]])[0].refused


# --- what must not be lost, and not be told -------------------------------------------------------


def test_answers_in_flight_when_one_fails_are_kept(server: str) -> None:
    asked: list[str] = []

    def one_fails(body: Body, _: int) -> Reply:
        asked.append(body["messages"][0]["content"])
        if asked[-1] == "0" and len(asked) <= 4:
            return 400, {"error": {"message": "withheld"}}
        time.sleep(0.3)
        return 200, choice(RIGHT)

    QUIRKS["one_fails"] = one_fails
    llm = at(server, "one_fails")
    chats = [[{"role": "user", "content": str(n)}] for n in range(4)]
    with pytest.raises(ModelError, match="withheld"):
        ask(llm, chats)
    asked[:] = ["before"] * 4
    assert ask(llm, chats) == [RIGHT] * 4
    assert asked[4:] == ["0"], "the three in flight had been kept"


def test_a_model_that_answers_with_none_of_the_options_is_no_judge(server: str) -> None:
    def thinks(_: Body, __: int) -> Reply:
        made = choice("<think>")
        tops = [{"token": "<think>", "logprob": 0.0}, {"token": "no", "logprob": -9.0}]
        made["choices"][0]["logprobs"] = {"content": [{"top_logprobs": tops}]}
        return 200, made

    QUIRKS["thinks"] = thinks
    with pytest.raises(ModelError, match="instead of yes or no"):
        option_probabilities(at(server, "thinks"), [CHAT], ["yes", "no"])


def test_messages_hold_no_secrets(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    QUIRKS["echoes"] = lambda *_: (401, {"error": {"message": "Wrong key:\n sk-secret"}})
    address = server.replace("//", "//user:password@")
    llm = Endpoint(f"{address}/echoes/v1?token=hidden", "m", remember=False)
    with pytest.raises(ModelError) as raised:
        ask(llm, [CHAT])
    for secret in ("sk-secret", "password", "hidden", "\n"):
        assert secret not in str(raised.value)


def test_a_local_server_with_another_model_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    served = iter(["[one]", "[two]"])
    monkeypatch.setattr(endpoints, "_served_models", lambda _: next(served))
    llm = Endpoint("http://localhost:1/v1", "m")
    assert llm.fingerprint() != llm.fingerprint()
    hosted = Endpoint("https://api.example.com/v1", "m")
    assert hosted.fingerprint() == hosted.fingerprint()


def test_the_reader_takes_no_model_without_the_chat_api() -> None:
    llm: Any = object()
    with pytest.raises(InputError, match="behind the chat API"):
        CitingReader(llm)


def test_what_load_reader_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_GENERATOR", raising=False)
    assert load_reader().name == DEFAULTS["reader"]
    monkeypatch.setenv("COURSE_GENERATOR", "http://localhost:1/v1#m")
    assert load_reader() == Endpoint("http://localhost:1/v1", "m")
    assert isinstance(load_reader("SmolLM2-135M-Instruct"), EmbeddedModel)


def test_a_large_model_is_not_downloaded_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_GENERATOR", raising=False)
    llm = load_reader()
    assert isinstance(llm, EmbeddedModel)
    with pytest.raises(ModelError, match=r"not recorded.*models fetch reader.*1\.1 GB"):
        llm.address()  # the cache folder of a test is empty
