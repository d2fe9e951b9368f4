"""Body limit, headers and host check, around a small app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Response
from starlette.types import Message

from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import ApiKey, Keys, digest
from mrag_pipeline.serving.security.security_headers import HEADERS
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.http_requests import app_with, asked, got

KEY = {"X-API-Key": "secret"}


def _app(**spec: object) -> FastAPI:
    return app_with(KeyGuard(ServeSpec(**spec), Keys()))  # type: ignore[arg-type]


def _keyed() -> FastAPI:
    return app_with(KeyGuard(ServeSpec(host="0.0.0.0"), Keys([ApiKey("a", digest("secret"))])))


# ------------------------------------------------------------------ bodies
async def _pieces(sizes: list[int]) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize("size", [0, 1, 1024])
def test_a_body_within_the_limit_is_read_whole(size: int) -> None:
    """The limit itself is allowed; said or not."""
    app = _app(max_body_kb=1)
    assert got(app, "/size", method="POST", content=b"x" * size).json() == size
    assert got(app, "/size", method="POST", content=_pieces([size])).json() == size


def test_a_body_that_says_it_is_too_long_is_refused_unread() -> None:
    """413, though not a byte of it was sent; the connection is closed."""
    app = _app(max_body_kb=1)
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"1025")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/size",
        "headers": headers,
        "query_string": b"",
    }
    asyncio.run(app(scope, receive, send))
    told = dict(sent[0]["headers"])
    assert sent[0]["status"] == 413
    assert told[b"connection"] == b"close"
    assert told[b"content-type"] == b"application/problem+json"


@pytest.mark.parametrize("sizes", [[1025], [1000, 25], [1] * 1025, [1024, 10**6]])
def test_a_body_without_a_length_is_cut_off_at_the_limit(sizes: list[int]) -> None:
    """Chunked: 413 as soon as it is passed, and no more is asked for."""
    answer = got(_app(max_body_kb=1), "/size", method="POST", content=_pieces(sizes))
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert "1,024 bytes" in answer.json()["expected"]


@pytest.mark.parametrize("length", ["10", "-1", "1e3", "²", "0" * 5000 + "9"])
def test_a_length_that_lies_does_not_help(length: str) -> None:
    """Bytes are counted as they arrive, whatever Content-Length says."""
    headers = {"Content-Length": length.encode("latin-1")}
    answer = got(_app(max_body_kb=1), "/size", headers, "POST", content=b"x" * 2000)  # type: ignore[arg-type]
    assert answer.status_code == 413


def test_a_body_is_not_read_before_its_key_is_known() -> None:
    """Without one, 401; what it would have been is not looked at."""
    assert got(_keyed(), "/size", method="POST", content=_pieces([10**6])).status_code == 401


# ------------------------------------------------------------------ headers
@pytest.mark.parametrize(
    ("path", "status"), [("/who", 200), ("/broken", 500), ("/none", 404), ("/forbidden", 403)]
)
def test_every_response_has_the_security_headers(path: str, status: int) -> None:
    """Error responses too, even uncaught ones; none may be stored."""
    answer = got(_app(), path)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["cache-control"] == "no-store"


def test_responses_of_other_middleware_have_them_too() -> None:
    """413 and 421 do not get past."""
    too_large = got(_app(max_body_kb=1), "/size", method="POST", content=b"x" * 2000)
    assert (too_large.status_code, too_large.headers["x-frame-options"]) == (413, "DENY")
    elsewhere = got(_app(), "/who", {"Host": "evil.example"})
    assert (elsewhere.status_code, elsewhere.headers["x-frame-options"]) == (421, "DENY")


def test_the_policy_allows_nothing_but_our_own_files() -> None:
    """No inline script or style, no other site, no frame."""
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    sources = {source for value in policy.values() for source in value.split()}
    assert sources == {"'none'", "'self'"}


def test_a_file_with_an_etag_may_be_kept_and_asked_for_again() -> None:
    """A route's own Cache-Control is kept."""
    app = _app()

    @app.get("/file")
    async def file() -> Response:
        return Response("x", headers={"ETag": '"1"'})

    @app.get("/own")
    async def own() -> Response:
        return Response("x", headers={"Cache-Control": "max-age=60"})

    assert got(app, "/file").headers["cache-control"] == "no-cache"
    assert got(app, "/own").headers["cache-control"] == "max-age=60"


def test_no_other_site_may_read() -> None:
    """A preflight is answered without any CORS header: the browser refuses it."""
    asked_for = {"Origin": "http://127.0.0.1:8000", "Access-Control-Request-Method": "POST"}
    answer = got(_app(), "/size", asked_for, "OPTIONS")
    assert not [name for name in answer.headers if name.startswith("access-control")]


# ------------------------------------------------------------------ hosts
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.2"]
)
def test_this_machine_may_ask_by_any_of_its_loopback_names(host: str) -> None:
    """Names that no other machine can resolve to this one."""
    assert got(_app(), "/who", {"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "0.0.0.0"),
        *("[::1", "[::1]evil", "192.168.0.7:8000", "evil.example#localhost", "a@localhost.evil"),
    ],
)
def test_a_name_made_to_point_here_is_refused(host: str) -> None:
    """DNS rebinding: the browser sends the attacker's name."""
    answer = got(_app(), "/who", {"Host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:3000", "http://[::1", ""]
)
def test_another_sites_page_may_not_ask(origin: str) -> None:
    """Not even without reading the answer; another port is another site."""
    assert got(_app(), "/size", {"Origin": origin}, "POST").status_code == 403


def test_our_own_page_may_ask() -> None:
    """Browsers send its origin with every POST."""
    assert got(_app(), "/size", {"Origin": "http://127.0.0.1:8000"}, "POST").status_code == 200


def test_with_keys_any_host_name_will_do() -> None:
    """A key is what protects; the name is the proxy's business."""
    answer = got(_keyed(), "/who", {**KEY, "Host": "search.example"})
    assert answer.status_code == 200


def test_many_at_once_are_counted_apart() -> None:
    """One body over the limit does not touch another's."""
    app = _app(max_body_kb=1)

    async def asking(client: httpx.AsyncClient) -> list[int]:
        sizes = [10, 5000, 20, 1024, 1025]
        answers = await asyncio.gather(
            *(client.post("/size", content=_pieces([1] * size)) for size in sizes)
        )
        return [answer.status_code for answer in answers]

    assert asked(app, asking) == [200, 413, 200, 200, 413]


# ------------------------------------------------------------------ named hosts
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("search.example.com", 200),
        ("SEARCH.example.com:8443", 200),
        ("127.0.0.1:8000", 200),
        ("evil.example.com", 421),
        ("search.example.com.evil.org", 421),
        ("", 421),
    ],
)
def test_a_service_with_keys_answers_to_the_names_that_its_operator_lists(
    host: str, status: int
) -> None:
    """And to loopback, for what stands in front of it on the machine."""
    app = app_with(
        KeyGuard(
            ServeSpec(host="0.0.0.0", hosts=("search.example.com",)),
            Keys([ApiKey("a", digest("secret"))]),
        )
    )
    answer = got(app, "/size", method="POST", content=b"", headers={**KEY, "host": host})
    assert answer.status_code == status


def test_without_a_list_a_service_with_keys_answers_to_any_name() -> None:
    """As before there was one."""
    headers = {**KEY, "host": "any.example.com"}
    answer = got(_keyed(), "/size", method="POST", content=b"", headers=headers)
    assert answer.status_code == 200
