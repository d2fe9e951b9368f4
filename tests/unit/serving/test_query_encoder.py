"""Whose windows are embedded together, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.heads import Embeddings, Role
from mrag_pipeline.errors import ConfigError, OutOfTime
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.parts.query_encoder import (
    BATCH_CHARS,
    EmbeddedRequest,
    QueryEncoder,
)
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter

LONG = Query(" ".join(f"word{n} of things{n % 97}." for n in range(500)))
SHORT = Query("glaciers and their moraines")


class HeldEncoder(FakeEncoder):
    """Records what each forward pass embeds, and waits until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[list[str]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        self.passes.append(list(texts))
        self.begun.release()
        assert self.go.acquire(timeout=30)
        return super().encode(texts, role)


def parts(encoder: FakeEncoder) -> QueryEncoder:
    return QueryEncoder(encoder, FakeSegmenter(), ServeSpec())


def embedded(query: Query, encoder: FakeEncoder | None = None) -> Any:
    [one] = QueryEmbedder(encoder or FakeEncoder(), FakeSegmenter()).embed([query])
    return one


async def begun(encoder: HeldEncoder) -> None:
    assert await asyncio.to_thread(encoder.begun.acquire, timeout=30)


@pytest.mark.parametrize("query", [SHORT, LONG, Query(SHORT.text, windows=("one", "two", "one"))])
def test_slices_give_what_one_pass_gives(query: Query) -> None:
    """The same windows, embeddings and aspects."""

    async def run() -> EmbeddedRequest | Exception:
        return await parts(FakeEncoder()).embed((query, SHORT), 30.0)

    found = asyncio.run(run())
    assert isinstance(found, EmbeddedRequest)
    expected = embedded(query)
    assert found.queries[0].windows == expected.windows
    assert found.queries[0].aspects == expected.aspects
    np.testing.assert_allclose(
        found.queries[0].embeddings.heads, expected.embeddings.heads, rtol=1e-6
    )
    assert found.queries[1].windows == embedded(SHORT).windows


@pytest.mark.parametrize("callers", [("many", "few"), ("", "")], ids=["keys", "no keys"])
def test_a_short_question_waits_for_one_pass_of_a_costly_batch(callers: tuple[str, str]) -> None:
    """Thirty-two long questions are under way; the short one is in the next pass."""

    async def run() -> None:
        encoder = HeldEncoder()
        part = parts(encoder)
        costly = asyncio.create_task(part.embed((LONG,) * 32, 60.0, callers[0]))
        await begun(encoder)
        await asyncio.sleep(0.2)  # more of it is cut, and waits
        short = asyncio.create_task(part.embed((SHORT,), 60.0, callers[1]))
        await asyncio.sleep(0)
        encoder.go.release(2)
        assert isinstance(await asyncio.wait_for(short, 30), EmbeddedRequest)
        assert SHORT.text in encoder.passes[1]
        encoder.go.release(10_000)
        assert isinstance(await costly, EmbeddedRequest)
        max_chars = 4 * encoder.card.max_tokens
        longest = max(sum(min(len(text), max_chars) for text in one) for one in encoder.passes)
        assert longest <= BATCH_CHARS
        part.close()

    asyncio.run(run())


def test_what_is_late_or_left_is_not_embedded_further() -> None:
    """Its slices that wait are dropped; the caller is told."""

    async def run() -> None:
        encoder = HeldEncoder()
        part = parts(encoder)
        late = asyncio.create_task(part.embed((LONG,) * 8, 0.5, "late"))
        left = asyncio.create_task(part.embed((LONG,) * 8, 60.0, "left"))
        await begun(encoder)
        assert isinstance(await late, OutOfTime)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        encoder.go.release(10_000)
        assert isinstance(await part.embed((SHORT,), 60.0), EmbeddedRequest)
        assert len(encoder.passes) == 2
        part.close()

    asyncio.run(run())


def test_a_wrong_query_is_returned_as_its_error() -> None:
    """Ray would wrap a raised one."""

    async def run() -> Any:
        return await parts(FakeEncoder()).embed((SHORT, Query("  ")), 30.0)

    assert isinstance(asyncio.run(run()), ConfigError)
