"""Malformed bodies: each is a problem, none a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from mrag_pipeline.errors import Unauthorized
from mrag_pipeline.serving.http.problems import MEDIA_TYPE
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import Keys
from mrag_pipeline.serving.unguarded import OpenGuard
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.query_service import a_backend, a_client, a_living

JSON = {"content-type": "application/json"}
PATHS = ("/v1/search", "/v1/search/batch", "/v1/answer")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A service over the toy index."""
    return a_client(a_backend(a_living(tmp_path_factory.mktemp("living"))))


def nested(depth: int, inner: str) -> str:
    return '{"not":' * depth + inner + "}" * depth


CONDITION = '{"field":"title","op":"eq","value":"a"}'
NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "cut short": b'{"query": "a"',
    "after the end": b'{"query": "a"} {}',
    "NaN": b'{"query": "a", "timeout_s": nan}',
    "not UTF-8": b'{"query": "\xff"}',
    "UTF-16": '{"query": "a"}'.encode("utf-16"),
    "half a surrogate pair": b'{"query": "\\ud800"}',
    "control character": b'{"query": "a\x00b"}',
    "single quotes": b"{'query': 'a'}",
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep filter": f'{{"query":"a","filter":{nested(5000, CONDITION)}}}'.encode(),
}
NO_SCHEMA: dict[str, Any] = {
    "null": None,
    "list": [],
    "number": 7,
    "text": "a",
    "bool": True,
    "null query": {"query": None},
    "list query": {"query": ["a"]},
    "k as text": {"query": "a", "k": "10"},
    "k as float": {"query": "a", "k": 1.5},
    "k as bool": {"query": "a", "k": True},
    "k huge": {"query": "a", "k": 10**400},
    "k negative": {"query": "a", "k": -1},
    "explain as text": {"query": "a", "explain": "yes"},
    "timeout zero": {"query": "a", "timeout_s": 0},
    "windows empty": {"query": "a", "windows": []},
    "windows of numbers": {"query": "a", "windows": [1]},
    "too many windows": {"query": "a", "windows": ["a"] * 257},
    "unknown key": {"query": "a", "__class__": "x"},
    "filter list": {"query": "a", "filter": []},
    "filter of two kinds": {"query": "a", "filter": {"all": [], "any": []}},
    "filter of no kind": {"query": "a", "filter": {"field": "title"}},
    "filter with an object": {
        "query": "a",
        "filter": {"field": "title", "op": "eq", "value": {"$ne": ""}},
    },
    "filter too deep": {"query": "a", "filter": json.loads(nested(9, CONDITION))},
    "filter far too deep": {"query": "a", "filter": json.loads(nested(150, CONDITION))},
    "filter too wide": {"query": "a", "filter": {"all": [json.loads(CONDITION)] * 65}},
    "filter too many": {
        "query": "a",
        "filter": {"all": [{"any": [json.loads(CONDITION)] * 33}] * 2},
    },
    "filter value too long": {
        "query": "a",
        "filter": {"field": "title", "op": "eq", "value": "x" * 4097},
    },
    "tenant too long": {"query": "a", "tenant": "x" * 513},
}


@pytest.mark.parametrize("name", NOT_JSON)
@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_json_is_400(client: TestClient, path: str, name: str) -> None:
    """JSON that is nested too deep counts as malformed."""
    response = client.post(path, content=NOT_JSON[name], headers=JSON)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == MEDIA_TYPE


@pytest.mark.parametrize("name", NO_SCHEMA)
def test_what_is_no_question_is_422(client: TestClient, name: str) -> None:
    """In each endpoint; short, and without the body's own words at length."""
    one = NO_SCHEMA[name]
    for path, body in (
        ("/v1/search", one),
        ("/v1/answer", one),
        ("/v1/search/batch", {"searches": [one]}),
    ):
        response = client.post(path, content=json.dumps(body), headers=JSON)
        assert response.status_code == 422, (path, response.text)
        assert response.headers["content-type"] == MEDIA_TYPE
        assert len(response.content) < 8_000


@pytest.mark.parametrize(
    "text",
    ["\x00", "a\x00b", "'; DROP TABLE chunks; --", "💥" * 500, "\u202e", "\uffff", "a" * 20_000],
    ids=["nul", "nul inside", "sql", "emoji", "right to left", "noncharacter", "long"],
)
def test_any_text_may_be_asked(client: TestClient, text: str) -> None:
    """As query, as window and as a filter's value."""
    filter_ = {"field": "title", "op": "ne", "value": text[:4000]}
    for body in (
        {"query": text},
        {"query": "a", "windows": [text]},
        {"query": "dog", "filter": {"not": filter_}},
    ):
        response = client.post("/v1/search", json=body)
        assert response.status_code in (200, 422), response.text
        if response.status_code == 422:
            told = response.json()["detail"]
            assert "without text" in told or "NUL" in told or "value" in told


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("application/json", 200),
        ("APPLICATION/JSON; charset=UTF-8", 200),
        ('application/json; charset="utf-8"', 200),
        ("application/geo+json", 200),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/json", 415),
        ("application/jsonp", 415),
        ("x" * 5000, 415),
        ("", 415),
    ],
)
def test_a_body_must_say_that_it_is_json(client: TestClient, header: str, status: int) -> None:
    """So no other site's form can send one."""
    response = client.post(
        "/v1/search", content=b'{"query": "a"}', headers={"content-type": header}
    )
    assert response.status_code == status
    assert len(response.content) < 2_000 or status == 200


def test_keys_of_a_body_are_told_shortened(client: TestClient) -> None:
    """A thousand unknown keys, each long, make a short answer."""
    body = {"query": "a"} | {f"{at}" + "k" * 500: at for at in range(300)}
    response = client.post("/v1/search", json=body)
    assert response.status_code == 422
    assert "299 more" in response.json()["detail"]
    assert len(response.content) < 20_000


def test_the_key_is_asked_for_before_the_body_is_read(tmp_path: Any) -> None:
    """The key is checked before the body is parsed."""

    class Closed(OpenGuard):
        def __call__(self) -> Any:
            raise Unauthorized("no key")

    client = a_client(a_backend(a_living(tmp_path)), guard=Closed())
    for path in PATHS:
        assert client.post(path, content=b"{", headers=JSON).status_code == 401
    assert client.get("/v1/chunks/x").status_code == 401
    assert client.get("/v1/index").status_code == 401
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("says_length", [True, False])
def test_a_body_that_is_too_large_is_not_read(tmp_path: Any, says_length: bool) -> None:
    """A body over the limit is 413, with or without Content-Length."""
    spec = ServeSpec(max_body_kb=1)
    client = a_client(a_backend(a_living(tmp_path)), spec, KeyGuard(spec, Keys(())))
    body = json.dumps({"query": "a" * 2000}).encode()
    content = body if says_length else iter([body[:900], body[900:]])
    response = client.post(
        "http://localhost/v1/search",
        content=content,
        headers=JSON,
    )
    assert response.status_code == 413
    assert response.headers["content-type"] == MEDIA_TYPE
