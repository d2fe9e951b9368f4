"""Who is admitted, and how often."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import ApiKey, Keys, digest
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.clock import Clock
from tests.support.http_requests import app_with, asked, got

NOW = datetime(2026, 11, 23, tzinfo=UTC)
KEYS = Keys(
    [
        ApiKey("web", digest("web-old"), None, NOW + timedelta(hours=1)),
        ApiKey("web", digest("web-new")),
        ApiKey("acme", digest("acme-key"), "Acme"),
        ApiKey("gone", digest("gone-key"), None, NOW),
    ]
)


def _guard(clock: Clock | None = None, **spec: object) -> KeyGuard:
    return KeyGuard(ServeSpec(**spec), KEYS, clock or Clock(), lambda: NOW)  # type: ignore[arg-type]


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    ("headers", "name", "tenant"),
    [
        (_bearer("web-old"), "web", None),
        (_bearer("web-new"), "web", None),
        (_bearer("acme-key"), "acme", "Acme"),
        ({"X-API-Key": "acme-key"}, "acme", "Acme"),
        ({"x-api-key": "acme-key", "Authorization": "Basic proxy"}, "acme", "Acme"),
        ({"Authorization": "bearer web-new"}, "web", None),
        ({"Authorization": "Bearer   web-new "}, "web", None),
    ],
)
def test_a_key_is_a_caller(headers: dict[str, str], name: str, tenant: str | None) -> None:
    """By either header; old and new key while one rotates; the tenant is the key's."""
    answer = got(app_with(_guard()), "/who", headers)
    assert (answer.status_code, answer.json()) == (200, {"name": name, "tenant": tenant})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        _bearer("other"),
        _bearer(""),
        _bearer(digest("web-new")),
        {"Authorization": "web-new"},
        {"Authorization": "Basic web-new"},
        {"X-API-Key": ""},
        {"X-API-Key": "web-new2"},
        {"Authorization": "Bearer w\xe9b-new"},
        {"Cookie": "X-API-Key=web-new"},
        {**_bearer("wrong"), "X-API-Key": "web-new"},
    ],
)
def test_without_a_known_key_nothing_is_let_through(headers: dict[str, str]) -> None:
    """401 says how a key is sent, and the same to all: not how near one came."""
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = got(app_with(_guard()), "/who", raw)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["title"] == "No valid API key"
    assert "web" not in told["detail"]
    nothing = got(app_with(_guard()), "/who").json()
    assert {**told, "request_id": ""} == {**nothing, "request_id": ""}


def test_a_key_in_the_url_is_no_key() -> None:
    """A key in the URL would be in every proxy's log."""
    assert got(app_with(_guard()), "/who?api_key=web-new&X-API-Key=web-new").status_code == 401


def test_an_expired_key_is_told_so() -> None:
    """The holder knew the key, so the reason may be shown."""
    answer = got(app_with(_guard()), "/who", _bearer("gone-key"))
    assert answer.status_code == 401
    assert "has expired" in answer.json()["detail"]


def test_without_keys_everyone_is_nobody_and_unlimited() -> None:
    """On loopback only, which `check_exposure` sees to."""
    app = app_with(KeyGuard(ServeSpec(requests_per_minute=1), Keys()))
    for _ in range(3):
        assert got(app, "/who").json() == {"name": "", "tenant": None}


def test_each_caller_has_its_own_minute() -> None:
    """Two keys with one name share it; a failed login costs nothing."""
    clock = Clock()
    app = app_with(_guard(clock, requests_per_minute=2))
    assert got(app, "/who", _bearer("web-old")).status_code == 200
    assert got(app, "/who", _bearer("other")).status_code == 401
    clock.now += 17.2
    assert got(app, "/who", _bearer("web-new")).status_code == 200
    refused = got(app, "/who", _bearer("web-new"))
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "43"
    assert refused.json()["title"] == "Too many requests"
    assert got(app, "/who", _bearer("acme-key")).status_code == 200
    clock.now += 43
    assert got(app, "/who", _bearer("web-new")).status_code == 200


def test_a_batch_counts_as_what_it_holds() -> None:
    """Otherwise batches would bypass the limit."""
    app = app_with(_guard(requests_per_minute=5))
    assert got(app, "/batch/4", _bearer("web-new"), "POST").status_code == 200
    assert got(app, "/batch/2", _bearer("web-new"), "POST").status_code == 429
    assert got(app, "/batch/6", _bearer("acme-key"), "POST").status_code == 422


def test_requests_at_once_are_limited_until_their_last_byte() -> None:
    """A stream holds its slot while it runs; then the next is let through."""
    app = app_with(_guard(concurrent_requests=1))

    async def asking(client: httpx.AsyncClient) -> list[int]:
        first = asyncio.create_task(client.get("/stream", headers=_bearer("web-old")))
        await app.state.streaming.wait()
        second = await client.get("/who", headers=_bearer("web-new"))
        other = await client.get("/who", headers=_bearer("acme-key"))
        assert second.headers["retry-after"] == "1"
        app.state.go.set()
        assert (await first).content == b"ab"
        third = await client.get("/who", headers=_bearer("web-new"))
        return [second.status_code, other.status_code, third.status_code]

    assert asked(app, asking) == [429, 200, 200]


def test_what_is_refused_for_its_number_costs_nothing_of_the_minute() -> None:
    """Two a minute: one runs, the next is too many at once, and the second is still there."""
    app = app_with(_guard(concurrent_requests=1, requests_per_minute=2))

    async def asking(client: httpx.AsyncClient) -> list[int]:
        first = asyncio.create_task(client.get("/stream", headers=_bearer("web-new")))
        await app.state.streaming.wait()
        refused = await client.get("/who", headers=_bearer("web-new"))
        app.state.go.set()
        await first
        later = [await client.get("/who", headers=_bearer("web-new")) for _ in range(2)]
        return [refused.status_code, *(one.status_code for one in later)]

    assert asked(app, asking) == [429, 200, 429]


def test_a_caller_that_leaves_gives_its_slot_back() -> None:
    """A cancelled request is over."""
    app = app_with(_guard(concurrent_requests=1))

    async def asking(client: httpx.AsyncClient) -> int:
        first = asyncio.create_task(client.get("/stream", headers=_bearer("web-new")))
        await app.state.streaming.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return (await client.get("/who", headers=_bearer("web-new"))).status_code

    assert asked(app, asking) == 200


@pytest.mark.parametrize("path", ["/broken", "/forbidden"])
def test_a_request_that_fails_gives_its_slot_back(path: str) -> None:
    """Errors leak no slots."""
    app = app_with(_guard(concurrent_requests=1))
    for _ in range(3):
        assert got(app, path, _bearer("web-new")).status_code in (500, 403)
    assert got(app, "/who", _bearer("web-new")).status_code == 200


def test_the_openapi_document_tells_both_ways_to_send_a_key() -> None:
    """As alternatives."""
    document = app_with(_guard()).openapi()
    kinds = {one["type"] for one in document["components"]["securitySchemes"].values()}
    assert kinds == {"http", "apiKey"}
    assert len(document["paths"]["/who"]["get"]["security"]) == 2
