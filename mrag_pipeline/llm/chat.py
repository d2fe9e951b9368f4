"""One question to a chat model over HTTP, asked again when the server was only busy."""

from __future__ import annotations

import os

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from mrag_pipeline.domain.sub_queries import parse, prompt
from mrag_pipeline.errors import ConfigError, LlmRefused, LlmUnavailable
from mrag_pipeline.llm.spec import LlmSpec

ATTEMPTS = 3
BUSY = (408, 425, 429, 500, 502, 503, 504)


class ChatModel:
    """Asks an OpenAI-compatible endpoint."""

    def __init__(self, spec: LlmSpec) -> None:
        """Ready to be asked; nothing is sent yet.

        Raises: ConfigError if no model is configured.
        """
        if not spec.url or not spec.model:
            raise ConfigError(
                "no chat model is configured",
                "llm.url (up to /v1) and llm.model",
                "set them in [llm] of the config, or give the sub-queries yourself",
            )
        key = os.environ.get(spec.key_env, "")
        self._spec = spec
        self._client = httpx.Client(
            timeout=spec.timeout_s, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

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
        for attempt in Retrying(
            retry=retry_if_exception_type(LlmUnavailable),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.5, max=8),
            reraise=True,
        ):
            with attempt:
                return self._ask_once(question)
        raise AssertionError

    def _ask_once(self, question: str) -> str:
        url = f"{self._spec.url.rstrip('/')}/chat/completions"
        body = {
            "model": self._spec.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
        }
        try:
            response = self._client.post(url, json=body)
        except httpx.HTTPError as error:
            raise LlmUnavailable(
                f"no answer from {url}: {type(error).__name__}", "a chat model that answers"
            ) from None
        if response.status_code in BUSY:
            raise LlmUnavailable(f"{url} answers {response.status_code}", "200")
        try:
            response.raise_for_status()
            return str(response.json()["choices"][0]["message"]["content"])
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
            raise LlmRefused(
                f"{url} answers {response.status_code}: {response.text[:200]!r}",
                "choices[0].message.content, as OpenAI's chat completions give it",
                f"check llm.url, llm.model and the key in {self._spec.key_env}",
            ) from None
