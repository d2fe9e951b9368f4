"""Asks a chat model over HTTP, and retries while the server is busy.

`ChatModel` waits for the complete answer; `ChatStream` yields it piece by piece as it is written.
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
RETRIES: dict[str, Any] = {
    "retry": retry_if_exception_type(LlmUnavailable),
    "stop": stop_after_attempt(ATTEMPTS),
    "wait": wait_exponential(multiplier=0.5, max=8),
    "reraise": True,
}


class ChatModel:
    """Asks an OpenAI-compatible endpoint for complete answers."""

    def __init__(self, spec: LlmSpec) -> None:
        """Nothing is sent yet.

        Raises: ConfigError if no model is configured.
        """
        self._spec = _configured(spec)
        self._client = httpx.Client(timeout=spec.timeout_s, headers=_headers(spec))

    def sub_queries(self, query: str) -> list[str]:
        """Rephrasings of the query; at least one.

        Raises: LlmUnavailable (no answer in time), LlmRefused (no usable answer).
        """
        answer = self._ask(prompt(query, self._spec.sub_queries))
        sub_queries = parse(answer, self._spec.sub_queries)
        if not sub_queries:
            raise LlmRefused(f"{self._spec.model} returned no sub-query", "one on each line")
        return sub_queries

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _ask(self, question: str) -> str:
        for attempt in Retrying(**RETRIES):
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
            raise _no_answer(url, error) from None
        _check_busy(response)
        return _complete_answer(self._spec, response)


class ChatStream:
    """Asks an OpenAI-compatible endpoint for answers that arrive piece by piece."""

    def __init__(self, spec: LlmSpec) -> None:
        """Nothing is sent yet. For use in one event loop.

        Raises: ConfigError if no model is configured.
        """
        self._spec = _configured(spec)
        self._client = httpx.AsyncClient(timeout=spec.timeout_s, headers=_headers(spec))

    @property
    def model(self) -> str:
        """The model's name at its endpoint."""
        return self._spec.model

    @property
    def timeout_s(self) -> float:
        """Seconds that a complete answer may take."""
        return self._spec.timeout_s

    async def pieces(
        self, messages: Sequence[Mapping[str, str]], seconds: float | None = None
    ) -> AsyncIterator[str]:
        """The answer in pieces, in order: at least one, none empty.

        Retries only before the first piece. An endpoint that does not stream yields one piece.

        Args:
            seconds: for the complete answer, if less than `llm.timeout_s`.
        Raises: LlmUnavailable (no answer, or an incomplete one), LlmRefused, OutOfTime.
        """
        timeout_s = self._spec.timeout_s
        deadline = time.monotonic() + (timeout_s if seconds is None else min(seconds, timeout_s))
        response = await self._opened(messages, deadline)
        is_answered = False
        try:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                await self._in_time(response.aread(), deadline)
                if text := _complete_answer(self._spec, response):
                    is_answered = True
                    yield text
            else:
                async for piece in self._streamed(response, deadline):
                    is_answered = True
                    yield piece
        finally:
            await response.aclose()
        if not is_answered:
            raise LlmRefused(f"{self._spec.model} returned an empty answer", "text")

    async def close(self) -> None:
        """Closes the connection."""
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
        async for attempt in AsyncRetrying(**RETRIES):
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
                    _complete_answer(self._spec, response)
                finally:
                    await response.aclose()
        raise AssertionError

    async def _streamed(self, response: httpx.Response, deadline: float) -> AsyncIterator[str]:
        """The pieces, up to the end mark that the protocol requires."""
        events = EventSource(response).aiter_sse()
        is_complete = False
        while (event := await self._in_time(anext(events, None), deadline)) is not None:
            if event.data.strip() == "[DONE]":
                return
            piece, is_last = _piece(self._spec, event.data)
            is_complete = is_complete or is_last
            if piece:
                yield piece
        if not is_complete:
            raise LlmUnavailable(
                f"{_url(self._spec)} closed the stream before the end of its answer",
                "a complete answer",
            )

    async def _in_time(self, awaitable: Any, deadline: float) -> Any:
        try:
            return await asyncio.wait_for(awaitable, max(0.001, deadline - time.monotonic()))
        except TimeoutError:
            raise OutOfTime(
                f"the chat model {self._spec.model} did not complete its answer in time",
                f"within the request's timeout_s, and llm.timeout_s = {self._spec.timeout_s:g}",
                "allow more time, or send fewer passages (max_context_tokens)",
            ) from None
        except httpx.HTTPError as error:
            raise _no_answer(_url(self._spec), error) from None


def _configured(spec: LlmSpec) -> LlmSpec:
    if not spec.url or not spec.model:
        raise ConfigError(
            "no chat model is configured",
            "llm.url (up to /v1) and llm.model",
            "set them in [llm] of the config, or pass the sub-queries yourself",
        )
    return spec


def _headers(spec: LlmSpec) -> dict[str, str]:
    key = os.environ.get(spec.key_env, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _url(spec: LlmSpec) -> str:
    return f"{spec.url.rstrip('/')}/chat/completions"


def _no_answer(url: str, error: Exception) -> LlmUnavailable:
    return LlmUnavailable(
        f"no answer from {url}: {type(error).__name__}", "a chat model that answers"
    )


def _check_busy(response: httpx.Response) -> None:
    if response.status_code in BUSY:
        raise LlmUnavailable(f"{response.url} returned status {response.status_code}", "status 200")


def _complete_answer(spec: LlmSpec, response: httpx.Response) -> str:
    """The text of an answer that arrived in one piece."""
    try:
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])
    except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
        raise _unusable_answer(spec, response.text, response.status_code) from None


def _piece(spec: LlmSpec, data: str) -> tuple[str, bool]:
    """The text of one event, and whether it is the last."""
    try:
        event = json.loads(data)
        if not event["choices"]:  # an event that only reports token counts
            return "", False
        choice = event["choices"][0]
        text = choice.get("delta", {}).get("content") or ""
        return str(text), choice.get("finish_reason") is not None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _unusable_answer(spec, data, 200) from None


def _unusable_answer(spec: LlmSpec, text: str, status: int) -> LlmRefused:
    return LlmRefused(
        f"the chat model at {_url(spec)} returned no usable answer: "
        f"status {status}, {text[:200]!r}",
        "choices[0].message.content (streamed: delta.content), as in OpenAI's chat completions",
        f"check llm.url, llm.model and the key in {spec.key_env}",
    )
