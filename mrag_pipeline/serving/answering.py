"""An answer in words: hits become numbered passages within a token budget; a model cites them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mrag_pipeline.domain.prompt_template import filled
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.llm import LlmSpec
from mrag_pipeline.wire.schemas import AspectPart, Citation, SearchHit

_TAG = re.compile(r"<(?=/?\s*passage)", re.IGNORECASE)
NO_PASSAGES = "No passage was found that could answer this."


class Chat(Protocol):
    """A chat model that answers piece by piece."""

    @property
    def model(self) -> str:
        """Its name."""

    @property
    def timeout_s(self) -> float:
        """Seconds that a whole answer may take."""

    def pieces(
        self, messages: Sequence[Mapping[str, str]], seconds: float | None = None
    ) -> AsyncIterator[str]:
        """The answer, piece by piece; at least one piece has text.

        Raises: LlmUnavailable, LlmRefused; OutOfTime.
        """

    async def close(self) -> None:
        """Closes the connection."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to the chat model; without citations it is not called."""

    messages: tuple[Mapping[str, str], ...]
    citations: tuple[Citation, ...]
    num_tokens: int  # of the passages
    unsourced: tuple[AspectPart, ...] = ()  # aspects that no citation can be the source of


@dataclass(frozen=True, slots=True)
class Answerer:
    """Turns hits into an answer in words."""

    chat: Chat
    max_context_tokens: int
    spec: LlmSpec = field(default_factory=LlmSpec)  # what the model is told

    def budget(self, max_context_tokens: int | None) -> int:
        """The tokens that passages may take in the prompt.

        Raises: ConfigError for more than the service allows.
        """
        if max_context_tokens is None:
            return self.max_context_tokens
        if max_context_tokens > self.max_context_tokens:
            raise ConfigError(
                f"max_context_tokens = {max_context_tokens}", f"at most {self.max_context_tokens}"
            )
        return max_context_tokens

    async def pieces(self, prompt: Prompt, seconds: float) -> AsyncIterator[str]:
        """The answer, piece by piece; the model is not called without passages.

        Raises: LlmUnavailable, LlmRefused; OutOfTime.
        """
        if not prompt.citations:
            yield NO_PASSAGES
            return
        async for piece in self.chat.pieces(prompt.messages, seconds):
            yield piece

    async def whole(self, prompt: Prompt, seconds: float) -> str:
        """The whole answer; errors as `pieces`."""
        return "".join([piece async for piece in self.pieces(prompt, seconds)])


def passages(hits: Sequence[SearchHit]) -> list[str]:
    """The hits as they are written in a prompt, numbered by rank from 1."""
    return [
        f'<passage number="{rank}" title="{_attribute(hit.title or hit.document_id)}">\n'
        f"{_escaped(hit.text)}\n</passage>"
        for rank, hit in enumerate(hits, 1)
    ]


def prompt(
    query: str,
    hits: Sequence[SearchHit],
    counts: Sequence[int],
    budget: int,
    aspects: Sequence[AspectPart] = (),
    spec: LlmSpec | None = None,
) -> Prompt:
    """The prompt with the hits that fit, best first; shorter ones may follow one that does not fit.

    It names the aspects without a source, so that the model says of each that it does not know.

    Args:
        counts: the tokens of each of `passages(hits)`.
        budget: tokens that all passages may take together.
        aspects: of the question; those without a verdict are taken to have a source.
        spec: has the system message and the template; None: the defaults.
    Raises: ConfigError if there are hits and none fits.
    """
    texts, citations, num_tokens = [], [], 0
    for rank, (hit, text, count) in enumerate(zip(hits, passages(hits), counts, strict=True), 1):
        if num_tokens + count <= budget:
            texts.append(text)
            citations.append(Citation.model_construct(number=rank, hit=hit))
            num_tokens += count
    if hits and not citations:
        raise ConfigError(
            f"{budget} tokens for passages; the shortest one found has {min(counts)}",
            "room for at least one passage",
            "raise max_context_tokens",
        )
    sourced = {aspect for citation in citations for aspect in citation.hit.aspects}
    unsourced = tuple(
        aspect
        for number, aspect in enumerate(aspects)
        if aspect.verdict is not None and number not in sourced
    )
    spec = spec or LlmSpec()
    question = filled(
        spec.prompt,
        {
            "passages": "\n\n".join(texts),
            "unsourced": "\n".join(f"- {_escaped(aspect.text)}" for aspect in unsourced),
            "question": query,
        },
    )
    return Prompt(
        ({"role": "system", "content": spec.system}, {"role": "user", "content": question}),
        tuple(citations),
        num_tokens,
        unsourced,
    )


def _escaped(text: str) -> str:
    """The text with its tags broken, so that it cannot end the passage that contains it."""
    return _TAG.sub("< ", text)


def _attribute(text: str) -> str:
    return " ".join(_escaped(text).replace('"', "'").split())
