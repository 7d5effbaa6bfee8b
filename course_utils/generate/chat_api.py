"""Ask a model behind the OpenAI-compatible chat API. Notebook 01.

Endpoints differ in what they refuse and in what they send back. We try the likely meaning first,
and explain in one sentence what we cannot use. Answers are saved as they arrive.
"""

from __future__ import annotations

import functools
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from course_utils.files import progress
from course_utils.generate.prompting import Chat
from course_utils.generate.replies import (
    RequestError,
    first_choice,
    message_of,
    shares_of,
    text_of,
    where_of,
)
from course_utils.models.cache import Batches, cached_by_model, in_order
from course_utils.models.endpoints import Endpoint, is_local
from course_utils.models.registry import ModelError

WAITS = (1, 2, 4, 8)  # seconds before a request that failed is sent again
LONGEST_WAIT = 60.0  # seconds that an endpoint may ask us to wait
TOP = 20  # tokens whose probability an endpoint is asked for
Body = dict[str, Any]


def ask(
    llm: Endpoint,
    chats: Sequence[Chat],
    max_new_tokens: int = 64,
    schema: Mapping[str, Any] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Ask an endpoint, several questions at once.

    Args:
        llm: the endpoint.
        chats: n chats, each ending with a user message.
        max_new_tokens: length at which an answer is cut off.
        schema: a JSON schema that answers must fit; the endpoint enforces it.
        temperature: 0 takes the likeliest token each time; above it, tokens are drawn.
        seed: another one draws others, where the endpoint allows it.

    Returns:
        n answers, without the model's thoughts.

    Raises:
        ModelError: a question got no answer. The others are saved: the same call continues.
    """
    body: Body = {"max_tokens": max_new_tokens, "temperature": temperature}
    if schema is not None:
        form = {"name": "answer", "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    if temperature > 0:
        body["seed"] = seed
    return _remembered(llm, ["chat", body], chats, lambda chat: text_of(_send(llm, chat, body)))


def option_probabilities(
    llm: Endpoint, chats: Sequence[Chat], options: Sequence[str]
) -> np.ndarray:
    """How probable each of several one-token answers is, such as letters, or yes and no.

    Args:
        llm: the endpoint; it must return the probabilities of tokens (``logprobs``).
        chats: n chats, each ending with a user message.
        options: m answers; case and white space do not matter.

    Returns:
        (n, m) probabilities, each row summing to 1.

    Raises:
        ModelError: see ``ask``; or the model answers with none of the options.
    """
    body: Body = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": TOP}
    names = [option.strip().lower() for option in options]

    def choose(chat: Chat) -> list[float]:
        return shares_of(_send(llm, chat, body), names, llm)

    return np.array(_remembered(llm, ["choose", names], chats, choose))


def stream(llm: Endpoint, chat: Chat, max_new_tokens: int = 64) -> Iterator[str]:
    """The pieces of an answer as they are written, for live display.

    An endpoint that cannot stream sends the whole answer as one piece.

    Raises:
        ModelError: see ``ask``.
    """
    import httpx
    import openai

    body: Body = {"max_tokens": max_new_tokens, "temperature": 0.0}
    sent: Any = _accepted(llm, body) | {"model": llm.name, "messages": chat, "stream": True}
    begun = False
    try:
        with _client(llm).chat.completions.create(**sent) as events:
            for event in events:
                piece = event.choices[0].delta.content if event.choices else None
                if piece:
                    begun = True
                    yield piece
    except (openai.OpenAIError, httpx.HTTPError, ValueError) as error:
        if begun:
            raise _explained(llm, error) from error
    if not begun:  # asked in the plain way, the endpoint answers or says why not
        yield text_of(_send(llm, chat, body))


def _remembered(
    llm: Endpoint, key: list[Any], chats: Sequence[Chat], one: Callable[[Chat], Any]
) -> list[Any]:
    """One answer for each chat, from a recording or the cache folder where it is known."""

    def compute(model: Endpoint, some: Sequence[Chat]) -> Batches:
        return _each(model, some, one)

    if not llm.remember:
        return in_order(compute(llm, chats))
    try:
        return cached_by_model(llm, key, chats, compute)
    except RequestError as error:
        raise ModelError(
            f"{error} The answers so far are saved; run it again to continue."
        ) from error


def _each(llm: Endpoint, chats: Sequence[Chat], one: Callable[[Chat], Any]) -> Batches:
    """Ask several at a time, and yield each answer as soon as it arrives, so it can be saved."""
    pool, kept = ThreadPoolExecutor(llm.requests), set()
    asked: dict[Future, int] = {pool.submit(one, chat): i for i, chat in enumerate(chats)}
    done = as_completed(asked)
    try:
        for future in progress(done, "answers", len(chats)) if len(chats) > 1 else done:
            yield {asked[future]: future.result()}
            kept.add(future)
    except (ModelError, KeyboardInterrupt):
        pool.shutdown(cancel_futures=True)  # wait for those in flight, and save them too
        late = [f for f in asked if f not in kept and not f.cancelled() and not f.exception()]
        yield {asked[future]: future.result() for future in late}
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _send(llm: Endpoint, chat: Chat, body: Body) -> Body:
    """Send one request, again if the endpoint is busy or refuses a setting; its first choice."""
    import openai

    waits = [*WAITS, None]
    while True:
        sent: Any = _accepted(llm, body) | {"model": llm.name, "messages": chat}
        try:
            reply = _client(llm).chat.completions.with_raw_response.create(**sent).text
            choice = first_choice(llm, reply)
            llm.known.add("answers")
            return choice
        except openai.OpenAIError as error:
            if _adapts(llm, error, sent):
                continue
            failed = _explained(llm, error)
        except RequestError as error:
            failed = error
        wait = waits.pop(0)
        if wait is None or not failed.again:
            raise failed
        time.sleep(max(wait, failed.wait))


def _client(llm: Endpoint) -> Any:
    local = is_local(llm.address())
    key = os.environ.get("OPENAI_API_KEY") if llm.url else None  # ours needs none
    return _connected(llm.address(), key or "none", llm.patience, local)


@functools.cache
def _connected(address: str, key: str, patience: int, local: bool) -> Any:
    import openai

    http = openai.DefaultHttpxClient(trust_env=False) if local else None  # no proxy to ourselves
    return openai.OpenAI(
        base_url=address, api_key=key, max_retries=0, timeout=patience, http_client=http
    )


def _accepted(llm: Endpoint, body: Body) -> Body:
    """The settings in the form that this endpoint takes."""
    sent = dict(body)
    if "max_tokens" in llm.known:
        sent["max_completion_tokens"] = sent.pop("max_tokens")
    for setting in {"temperature", "seed"} & llm.known:
        sent.pop(setting, None)
    return sent


def _adapts(llm: Endpoint, error: Exception, sent: Body) -> bool:
    """Whether a request failed for a setting that can be put in another way from now on."""
    if getattr(error, "status_code", 0) not in (400, 422):
        return False
    for setting in ("max_tokens", "temperature", "seed"):
        if setting in sent and re.search(rf"\b{setting}\b", str(error)):
            if setting == "temperature" and setting not in llm.known:
                warnings.warn(f"{llm.name} takes no temperature: answers may vary.", stacklevel=2)
            llm.known.add(setting)
            return True
    return False


def _explained(llm: Endpoint, error: Any) -> RequestError:
    """One of the client's many errors, as one sentence."""
    status, where = getattr(error, "status_code", None), where_of(llm)
    reason = message_of(getattr(error, "body", None) or str(error) or type(error).__name__)
    if status in (401, 403):
        return RequestError(f"{where} refuses the key ({reason}): set OPENAI_API_KEY.")
    if status == 404:
        return RequestError(
            f"{where} has no model {llm.name!r} or no such address ({reason}): check the name "
            "after '#' and that the address ends as the provider says, usually in /v1."
        )
    if status == 400 and "response_format" in reason:
        return RequestError(f"{where} refuses this JSON schema ({reason}).")
    if status in (408, 409, 429) or (status or 0) >= 500:
        header = error.response.headers.get("retry-after", "")
        wait = min(float(header), LONGEST_WAIT) if re.fullmatch(r"[\d.]+", header) else 0.0
        spent = "insufficient_quota" in str(getattr(error, "body", ""))
        text = f"{where} answers with status {status} ({reason}): try again later, or use another."
        return RequestError(text, again=not spent, wait=wait)
    if status is not None:
        return RequestError(f"{where} refuses the request with status {status} ({reason}).")
    # It answered before, so the connection was lost. After a time-out, waiting again is no use.
    lost = "answers" in llm.known and type(error).__name__ != "APITimeoutError"
    return RequestError(
        f"{where} did not answer ({reason}): check that it runs, COURSE_GENERATOR and the network.",
        again=lost,
    )
