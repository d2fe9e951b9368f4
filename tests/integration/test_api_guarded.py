"""The whole API behind the real guard and observer: keys, tenants, limits, metrics and log."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import ApiKey, Keys, digest
from mrag_pipeline.serving.security.security_headers import HEADERS
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.serving.telemetry.request_log import LOGGER
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living
from tests.support.query_service import QUERY, TENANTS, a_backend, a_client, a_living, found
from tests.support.telemetry_readers import heard, lines, samples, value

_COUNTS = ("num_documents", "num_chunks")
PAST = datetime(2020, 1, 1, tzinfo=UTC)
KEYS = Keys(
    [
        ApiKey("acme", digest("mrag_acme"), "acme"),
        ApiKey("umbrella", digest("mrag_umbrella"), "umbrella"),
        ApiKey("ours", digest("mrag_ours")),
        ApiKey("old", digest("mrag_old"), None, PAST),
    ]
)
# Everything that gives data, and what a caller sends there.
GUARDED: list[tuple[str, str, Any]] = [
    ("POST", "/v1/search", {"query": QUERY}),
    ("POST", "/v1/search/batch", {"searches": [{"query": QUERY}]}),
    ("POST", "/v1/answer", {"query": QUERY}),
    ("GET", "/v1/index", None),
    ("GET", "/v1/chunks/1", None),
    ("GET", "/v1/chunks/1/neighbours", None),
    ("GET", "/v1/documents", None),
    ("GET", "/v1/document", None),
    ("GET", "/metrics", None),
]
OPEN = ["/livez", "/readyz", "/", "/docs", "/openapi.json"]


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index: two documents of acme, two of umbrella, one of nobody."""
    return a_living(tmp_path_factory.mktemp("guarded"))


def _service(living: Living, **spec: Any) -> tuple[TestClient, RequestObserver]:
    settings = replace(TENANTS, **spec)
    guard = KeyGuard(settings, KEYS)
    observer = RequestObserver(settings, "r1", guard.for_operators())
    return a_client(a_backend(living, settings), settings, guard, observer), observer


def _key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer mrag_{name}"}


@pytest.mark.parametrize(("method", "path", "body"), GUARDED)
@pytest.mark.parametrize("headers", [{}, _key("wrong"), _key("old"), {"X-API-Key": "acme"}])
def test_nothing_is_told_without_a_key(
    living: Living, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    """No, a wrong and an expired key: 401 everywhere, with all protective headers."""
    client, _ = _service(living)
    answer = client.request(method, path, json=body, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert not [text for text in ("shaggy", "carbon", "acme") if text in answer.text]


def test_every_other_route_is_open_by_intention(living: Living) -> None:
    """A new route is in one of the two lists, or this fails."""
    client, _ = _service(living)
    routes = {
        (route, method)
        for route, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    closed = {(path.replace("/1", "/{chunk_id}"), method.lower()) for method, path, _ in GUARDED}
    assert routes - closed == {("/livez", "get"), ("/readyz", "get")}
    assert [client.get(path).status_code for path in OPEN] == [200] * len(OPEN)


def test_a_tenants_key_is_not_told_how_much_others_have(living: Living) -> None:
    """A key of the operator's own is."""
    client, _ = _service(living)
    counts = {
        name: [client.get("/v1/index", headers=_key(name)).json()[field] for field in _COUNTS]
        for name in ("acme", "ours")
    }
    record = live_record(living.index)
    assert counts["acme"] == [None, None]
    assert counts["ours"] == [record.num_documents, record.num_chunks]


def test_a_tenants_key_does_not_read_who_else_asks(living: Living) -> None:
    """`/metrics` names every caller: it is for keys without a tenant."""
    client, _ = _service(living)
    told = client.get("/metrics", headers=_key("acme"))
    assert told.status_code == 403
    assert told.json()["title"] == "Not allowed with this key"
    client.get("/metrics", headers=_key("umbrella"))
    ours = client.get("/metrics", headers=_key("ours"))
    assert ours.status_code == 200
    assert 'caller="umbrella"' in ours.text


def test_a_tenants_key_finds_its_own_by_every_way(living: Living) -> None:
    """Search, batch, filters that ask for others', chunks of others."""
    client, _ = _service(living)
    wide = {"not": {"field": "title", "op": "eq", "value": "x"}}
    theirs = {"field": "metadata.owner.name", "op": "eq", "value": "umbrella"}
    for wanted, expected in ((None, {"dog", "star"}), (wide, {"dog", "star"}), (theirs, set())):
        body = {"query": QUERY, "k": 5} | ({"filter": wanted} if wanted else {})
        one = client.post("/v1/search", json=body, headers=_key("acme")).json()
        assert set(found(one)) == expected
        many = client.post("/v1/search/batch", json={"searches": [body]}, headers=_key("acme"))
        assert set(found(many.json()["answers"][0])) == expected
    cakes = client.post("/v1/search", json={"query": "cake"}, headers=_key("umbrella")).json()
    path = f"/v1/chunks/{cakes['hits'][0]['chunk_id']}"
    keys = ("umbrella", "ours", "acme")
    assert [client.get(path, headers=_key(key)).status_code for key in keys] == [200, 200, 404]
    named = {"query": "cake", "tenant": "umbrella"}
    told = client.post("/v1/search", json=named, headers=_key("acme"))
    assert told.status_code == 403
    assert "umbrella" not in told.text


def test_a_batch_takes_as_much_of_the_minute_as_it_holds(living: Living) -> None:
    """Three of four; then two are too many and one is not; another caller has its own."""
    client, _ = _service(living, requests_per_minute=4)

    def asked(key: str, size: int) -> int:
        body = {"searches": [{"query": "cake"}] * size}
        return client.post("/v1/search/batch", json=body, headers=_key(key)).status_code

    assert asked("acme", 3) == 200
    refused = client.post(
        "/v1/search/batch", json={"searches": [{"query": "a"}] * 2}, headers=_key("acme")
    )
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert asked("umbrella", 4) == 200
    assert asked("ours", 5) == 422


def test_a_search_leaves_its_figures_and_none_of_its_words(
    living: Living, caplog: pytest.LogCaptureFixture
) -> None:
    """Metrics and log of a real answer: every stage, the version, the caller."""
    heard(caplog)
    client, observer = _service(living)
    answer = client.post("/v1/search", json={"query": QUERY}, headers=_key("acme")).json()
    (line,) = lines(caplog)
    assert (line["caller"], line["route"], line["k"]) == ("acme", "/v1/search", 10)
    assert line["version"] == answer["version"]
    assert line["windows"] == len(answer["windows"])
    assert line["hits"] == len(answer["hits"])
    stages = {"windows", "encode", "search", "fetch", "vote", "score", "total"}
    assert set(line["stage_ms"]) == stages
    assert line["stage_ms"]["total"] <= line["ms"]
    for stage in stages:
        labels = {"stage": stage, "strategy": "adaptive"}
        assert value(observer, "mrag_stage_seconds_count", **labels) == 1
    assert value(observer, "mrag_live_version_info", version=answer["version"]) == 1
    labels = {"method": "POST", "route": "/v1/search", "status": "200"}
    assert value(observer, "mrag_requests_total", **labels) == 1
    told = json.dumps(line) + client.get("/metrics", headers=_key("ours")).text
    assert not [word for word in ("shaggy", "carbon", "mrag_acme") if word in told]


def test_errors_of_the_body_are_counted_and_logged_by_type(
    living: Living, caplog: pytest.LogCaptureFixture
) -> None:
    """Each error is logged by its type, without its text."""
    heard(caplog)
    client, observer = _service(living)
    sent: list[tuple[dict[str, Any], str]] = [
        ({"content": b"{QzQ", "headers": {"content-type": "application/json"}}, "NotJson"),
        ({"json": {"QzQ": 1}}, "RequestValidationError"),
        ({"json": {"query": "QzQ", "strategy": "QzQ"}}, "ConfigError"),
        ({"content": b"QzQ"}, "WrongMediaType"),
    ]
    for arguments, _ in sent:
        headers = {**arguments.pop("headers", {}), **_key("ours")}
        assert 400 <= client.post("/v1/search", headers=headers, **arguments).status_code < 500
    assert [line["error"] for line in lines(caplog)] == [error for _, error in sent]
    counted = {
        dict(labels)["error"]: n
        for (name, labels), n in samples(observer).items()
        if name == "mrag_errors_total"
    }
    assert counted == {error: 1 for _, error in sent}
    assert "QzQ" not in json.dumps(lines(caplog))


def test_a_service_without_keys_is_for_this_machine(living: Living) -> None:
    """The same API: loopback names are answered, others are not."""
    guard = KeyGuard(ServeSpec(), Keys())
    client = a_client(a_backend(living), guard=guard, observer=RequestObserver(ServeSpec(), "r1"))
    body = {"query": QUERY}
    assert client.post("http://localhost:8000/v1/search", json=body).status_code == 200
    assert client.post("http://evil.example/v1/search", json=body).status_code == 421
    assert client.get("http://evil.example/").status_code == 421


def test_a_log_file_takes_the_lines(
    living: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve.request_log`, through the whole service."""
    monkeypatch.setattr(logging.getLogger(LOGGER), "handlers", [])
    path = tmp_path / "requests.jsonl"
    client, _ = _service(living, request_log=str(path))
    client.get("/v1/index", headers=_key("ours"))
    assert json.loads(path.read_text())["route"] == "/v1/index"
