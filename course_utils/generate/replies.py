"""What endpoints send back: the answer in it, or one sentence that says why there is none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_utils.models.endpoints import Endpoint
from course_utils.models.registry import ModelError

LEAST = 0.01  # probability that the options together must have
Reply = dict[str, Any]


class RequestError(ModelError):
    """A request without a usable reply; ``again`` says whether the next may have one."""

    def __init__(self, message: str, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(message)
        self.again, self.wait = again, wait


def where_of(llm: Endpoint) -> str:
    """The endpoint, for messages: without a user name, password or query."""
    return f"The endpoint {re.sub(r'//[^/@]*@', '//', llm.url).partition('?')[0] or llm.name}"


def message_of(body: Any) -> str:
    """What an endpoint says is wrong, wherever it says it, on one line and without the key."""
    if isinstance(body, Mapping):
        body = body.get("error", body)
        body = body.get("message") or body if isinstance(body, Mapping) else body
    text = " ".join(str(body).split()) if body else ""
    key = os.environ.get("OPENAI_API_KEY")
    return (text.replace(key, "…") if key else text)[:200]


def first_choice(llm: Endpoint, raw: str) -> Reply:
    """The first choice of a reply.

    Raises:
        RequestError: there is none.
    """
    where = where_of(llm)
    try:
        if re.match(r"\s*(data|event|id|):", raw):  # it streams, although it was not asked to
            reply: Any = {"choices": [_joined(raw)]}
        else:
            reply = json.loads(raw)
    except (ValueError, AttributeError, TypeError):
        raise RequestError(
            f"{where} sends no JSON ({message_of(raw)[:60]!r}): check the address, which usually "
            "ends in /v1, and that no log-in page is in between."
        ) from None
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if choices and isinstance(choices, list) and isinstance(choices[0], Mapping):
        reply = choice = dict(choices[0])
        if not choice.get("error"):
            return choice
    error = reply.get("error") if isinstance(reply, Mapping) else None
    reason = message_of(error) or "no choices in its reply"
    code = error.get("code") if isinstance(error, Mapping) else None
    again = isinstance(code, int) and (code in (408, 409, 429) or code >= 500)
    raise RequestError(f"{where} sends no answer ({reason}): try again later.", again=again)


def _joined(events: str) -> Reply:
    """A stream of events as one choice."""
    pieces = []
    for line in events.split("\n"):
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = json.loads(data)
        if event.get("error"):
            return {"error": event["error"]}
        for choice in event.get("choices") or []:
            pieces.append((choice.get("delta") or {}).get("content") or "")
    return {"message": {"content": "".join(pieces)}}


def text_of(choice: Reply) -> str:
    """The answer in a choice, without the thoughts that some models write first.

    Raises:
        RequestError: there are thoughts and no answer, or the answer was withheld.
    """
    message = choice.get("message") or {}
    content = message.get("content")
    if isinstance(content, list):  # parts, of which some are text
        content = "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    text = re.sub(r"(?s)^.*</think>", "", content or "").strip()
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    reason = choice.get("finish_reason")
    if text.startswith("<think>") or (not text and (thoughts or reason == "length")):
        raise RequestError(
            "The model was still thinking when its answer was cut off: raise max_new_tokens, or "
            "switch thinking off at the endpoint."
        )
    if not text and reason not in (None, "stop"):
        raise RequestError(f"The endpoint withheld an answer ({reason}).")
    return text


def shares_of(choice: Reply, names: Sequence[str], llm: Endpoint) -> list[float]:
    """The probabilities of the options, as the first token of an answer."""
    content = (choice.get("logprobs") or {}).get("content") or [{}]
    tokens = content[0].get("top_logprobs")
    if not tokens:
        raise RequestError(
            f"{where_of(llm)} returns no probabilities (logprobs), which this needs; use another "
            "one, or the course's own reader."
        )
    sums = dict.fromkeys(names, 0.0)
    for token in tokens:
        name = str(token.get("token")).strip().lower()
        if name in sums:
            sums[name] += float(np.exp(token.get("logprob", -np.inf)))
    total = sum(sums.values())
    if total < LEAST:
        first = tokens[0].get("token")
        raise RequestError(
            f"{llm.name} begins its answer with {first!r} instead of {' or '.join(names)}: use a "
            "model that does not think first."
        )
    return [sums[name] / total for name in names]
