"""Ids of requests behind a server that returns the id that it found in the request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mrag_pipeline.serving.ray.middlewares import PATH, middlewares
from mrag_pipeline.serving.telemetry.request_ids import PlainRequestIds


def seen(*given: bytes) -> list[bytes]:
    """The ids that the app finds in a request with those."""
    found: list[bytes] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        found.extend(value for name, value in scope["headers"] if name == b"x-request-id")

    headers = [(b"x-request-id", value) for value in given]
    scope = {"type": "http", "headers": [(b"accept", b"*/*"), *headers]}
    asyncio.run(PlainRequestIds(app)(scope, None, None))  # type: ignore[arg-type]
    return found


def test_a_plain_id_is_kept() -> None:
    """As the caller sent it."""
    assert seen(b"abc-1.2_3") == [b"abc-1.2_3"]


@pytest.mark.parametrize(
    "given", [[], [b""], [b"a b"], [b"a" * 129], [b"<b>"], [b"mrag_x"], [b"a", b"b"], [b"\xe4"]]
)
def test_any_other_is_replaced_by_one_plain_id(given: list[bytes]) -> None:
    """None, too long, odd, like a key, or several."""
    [made] = seen(*given)
    assert len(made) == 32
    assert made not in given


def test_serve_finds_the_middleware() -> None:
    """By its path."""
    module, _, name = PATH.rpartition(".")
    assert (module, name) == (middlewares.__module__, middlewares.__name__)
    assert [one.cls for one in middlewares()] == [PlainRequestIds]
