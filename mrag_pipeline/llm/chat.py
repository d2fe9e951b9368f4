"""Questions to a chat model over HTTP, asked again when the server was only busy.

`ChatModel` waits for a whole answer, `ChatStream` gives it piece by piece as it is written.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
from httpx_sse import EventSource
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from mrag_pipeline.domain.sub_queries import parse, prompt
from mrag_pipeline.errors import ConfigError, LlmRefused, LlmUnavailable, OutOfTime
from mrag_pipeline.settings.llm import LlmSpec

ATTEMPTS = 3
BUSY = (408, 425, 429, 500, 502, 503, 504)
_PATIENCE: Mapping[str, Any] = {
    "retry": retry_if_exception_type(LlmUnavailable),
    "stop": stop_after_attempt(ATTEMPTS),
    "wait": wait_exponential(multiplier=0.5, max=8),
    "reraise": True,
}


class ChatModel:
    """Asks an OpenAI-compatible endpoint."""

    def __init__(self, spec: LlmSpec) -> None:
        """Ready to be asked; nothing is sent yet.

        Raises: ConfigError if no model is configured.
        """
        self._spec = _configured(spec)
        self._client = httpx.Client(timeout=spec.timeout_s, headers=_headers(spec))

    def sub_queries(self, query: str) -> list[str]:
        """The query put in several ways; at least one.

        Raises: LlmUnavailable (no answer in time), LlmRefused (an answer that is none).
        """
        found = parse(self._ask(prompt(query, self._spec.sub_queries)), self._spec.sub_queries)
        if not found:
            raise LlmRefused(f"{self._spec.model} wrote no sub-query", "one a line")
        return found

    def close(self) -> None:
        """Lets go of the connection."""
        self._client.close()

    def _ask(self, question: str) -> str:
        for attempt in Retrying(**_PATIENCE):
            with attempt:
                return self._ask_once(question)
        raise AssertionError

    def _ask_once(self, question: str) -> str:
        url = _url(self._spec)
        body = {
            "model": self._spec.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
        }
        try:
            response = self._client.post(url, json=body)
        except httpx.HTTPError as error:
            raise _silent(url, error) from None
        _check_busy(response)
        return _whole(self._spec, response)


class ChatStream:
    """Asks an OpenAI-compatible endpoint for answers that come piece by piece."""

    def __init__(self, spec: LlmSpec) -> None:
        """Ready to be asked, by one event loop; nothing is sent yet.

        Raises: ConfigError if no model is configured.
        """
        self._spec = _configured(spec)
        self._client = httpx.AsyncClient(timeout=spec.timeout_s, headers=_headers(spec))

    @property
    def model(self) -> str:
        """The name it is known by at its endpoint."""
        return self._spec.model

    @property
    def timeout_s(self) -> float:
        """Seconds that a whole answer may take."""
        return self._spec.timeout_s

    async def pieces(
        self, messages: Sequence[Mapping[str, str]], seconds: float | None = None
    ) -> AsyncIterator[str]:
        """The answer, piece by piece, in order; none empty, one at least.

        Asked again only while nothing was said. An endpoint that does not stream gives one piece.

        Args:
            seconds: for the whole answer, if less than `llm.timeout_s`.
        Raises: LlmUnavailable (no answer, or one that broke off), LlmRefused, OutOfTime.
        """
        longest = self._spec.timeout_s
        deadline = time.monotonic() + (longest if seconds is None else min(seconds, longest))
        response = await self._opened(messages, deadline)
        said = False
        try:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                await self._in_time(response.aread(), deadline)
                if text := _whole(self._spec, response):
                    said = True
                    yield text
            else:
                async for piece in self._streamed(response, deadline):
                    said = True
                    yield piece
        finally:
            await response.aclose()
        if not said:
            raise LlmRefused(f"{self._spec.model} wrote nothing", "an answer")

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._client.aclose()

    async def _opened(
        self, messages: Sequence[Mapping[str, str]], deadline: float
    ) -> httpx.Response:
        body = {
            "model": self._spec.model,
            "messages": list(messages),
            "temperature": 0,
            "stream": True,
        }
        url = _url(self._spec)
        async for attempt in AsyncRetrying(**_PATIENCE):
            with attempt:
                request = self._client.build_request("POST", url, json=body)
                response: httpx.Response = await self._in_time(
                    self._client.send(request, stream=True), deadline
                )
                if response.is_success:
                    return response
                try:
                    _check_busy(response)
                    await self._in_time(response.aread(), deadline)
                    _whole(self._spec, response)
                finally:
                    await response.aclose()
        raise AssertionError

    async def _streamed(self, response: httpx.Response, deadline: float) -> AsyncIterator[str]:
        """The pieces, up to the end that the format asks for."""
        events = EventSource(response).aiter_sse()
        ended = False
        while (event := await self._in_time(anext(events, None), deadline)) is not None:
            if event.data.strip() == "[DONE]":
                return
            piece, is_last = _piece(self._spec, event.data)
            ended = ended or is_last
            if piece:
                yield piece
        if not ended:
            raise LlmUnavailable(f"{_url(self._spec)} broke off within an answer", "all of it")

    async def _in_time(self, waiting: Any, deadline: float) -> Any:
        try:
            return await asyncio.wait_for(waiting, max(0.001, deadline - time.monotonic()))
        except TimeoutError:
            raise OutOfTime(
                f"the chat model {self._spec.model} did not end its answer in time",
                f"within the request's timeout_s, and llm.timeout_s = {self._spec.timeout_s:g}",
                "give it longer, or fewer passages (max_context_tokens)",
            ) from None
        except httpx.HTTPError as error:
            raise _silent(_url(self._spec), error) from None


def _configured(spec: LlmSpec) -> LlmSpec:
    if not spec.url or not spec.model:
        raise ConfigError(
            "no chat model is configured",
            "llm.url (up to /v1) and llm.model",
            "set them in [llm] of the config, or give the sub-queries yourself",
        )
    return spec


def _headers(spec: LlmSpec) -> dict[str, str]:
    key = os.environ.get(spec.key_env, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _url(spec: LlmSpec) -> str:
    return f"{spec.url.rstrip('/')}/chat/completions"


def _silent(url: str, error: Exception) -> LlmUnavailable:
    return LlmUnavailable(
        f"no answer from {url}: {type(error).__name__}", "a chat model that answers"
    )


def _check_busy(response: httpx.Response) -> None:
    if response.status_code in BUSY:
        raise LlmUnavailable(f"{response.url} answers {response.status_code}", "200")


def _whole(spec: LlmSpec, response: httpx.Response) -> str:
    """The text of an answer that came in one piece."""
    try:
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])
    except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
        raise _not_an_answer(spec, response.text, response.status_code) from None


def _piece(spec: LlmSpec, data: str) -> tuple[str, bool]:
    """One event's text, and whether it is the last."""
    try:
        event = json.loads(data)
        if not event["choices"]:  # an event that only counts tokens
            return "", False
        choice = event["choices"][0]
        text = choice.get("delta", {}).get("content") or ""
        return str(text), choice.get("finish_reason") is not None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _not_an_answer(spec, data, 200) from None


def _not_an_answer(spec: LlmSpec, text: str, status: int) -> LlmRefused:
    return LlmRefused(
        f"{_url(spec)} answers {status}: {text[:200]!r}",
        "choices[0].message.content (streamed: delta.content), as OpenAI's chat completions",
        f"check llm.url, llm.model and the key in {spec.key_env}",
    )
