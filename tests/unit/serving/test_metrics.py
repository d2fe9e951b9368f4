"""Metrics after requests with known figures."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi.responses import PlainTextResponse
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import Keys
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.found_answers import answer
from tests.support.http_requests import app_with, asked, got
from tests.support.telemetry_readers import KEY, KEYS, samples, value, watched


def test_a_request_is_counted_by_its_routes_pattern() -> None:
    """Not by its path: a thousand ids are one series."""
    app, observer = watched()
    for item in ("1", "2", "secret"):
        got(app, f"/items/{item}", KEY)
    labels = {"method": "GET", "route": "/items/{item}", "status": "200"}
    assert value(observer, "mrag_requests_total", **labels) == 3
    assert value(observer, "mrag_request_seconds_count", route="/items/{item}") == 3
    assert "secret" not in observer.metrics.text()[0].decode()


def test_what_no_route_fits_is_one_series() -> None:
    """Nor can a made-up method make more."""
    app, observer = watched()
    for path, method in (("/a", "GET"), ("/b", "GET"), ("/c", "MADEUP"), ("/d", "MADEUP2")):
        got(app, path, method=method)
    counted = {
        dict(labels)["method"]: n
        for (name, labels), n in samples(observer).items()
        if name == "mrag_requests_total"
    }
    assert counted == {"GET": 2, "other": 2}


def test_a_search_is_seen_by_stage_and_strategy() -> None:
    """47 ms in all: 1 + 30 + 10 + 4 + 2; three windows; four queries in the encoder's batch."""
    app, observer = watched()
    got(app, "/search", KEY, "POST")
    seen = {
        stage: value(observer, "mrag_stage_seconds_sum", stage=stage, strategy="aspect")
        for stage in ("windows", "encode", "search", "fetch", "vote", "total")
    }
    assert seen == pytest.approx(
        {
            "windows": 0.001,
            "encode": 0.03,
            "search": 0.01,
            "fetch": 0.004,
            "vote": 0.002,
            "total": 0.047,
        }
    )
    for name, expected in (
        ("mrag_query_windows_sum", 3),
        ("mrag_query_windows_count", 1),
    ):
        assert value(observer, name, strategy="aspect") == expected
    assert value(observer, "mrag_encode_batch_queries_sum") == 4
    assert value(observer, "mrag_request_searches_sum") == 1
    within = {
        le: value(observer, "mrag_stage_seconds_bucket", stage="encode", strategy="aspect", le=le)
        for le in ("0.02", "0.05")
    }
    assert within == {"0.02": 0, "0.05": 1}


def test_a_batch_is_so_many_searches_of_one_request() -> None:
    """Each search counts in its own strategy."""
    app, observer = watched(answers=[answer(), answer(strategy="mrag", num_windows=1), answer()])
    got(app, "/search", KEY, "POST")
    assert value(observer, "mrag_request_searches_sum") == 3
    assert value(observer, "mrag_request_searches_count") == 1
    counts = [
        value(observer, "mrag_stage_seconds_count", stage="total", strategy=strategy)
        for strategy in ("aspect", "mrag")
    ]
    assert counts == [2, 1]


def test_missing_heads_and_empty_answers_are_counted() -> None:
    """Which head, and how many answers were partial."""
    missing = [("l05_h01", "standard"), ("l05_h01",), ()]
    app, observer = watched(answers=[answer(missing=m, num_hits=0) for m in missing])
    got(app, "/search", KEY, "POST")
    assert value(observer, "mrag_heads_missing_total", head="l05_h01") == 2
    assert value(observer, "mrag_heads_missing_total", head="standard") == 1
    assert value(observer, "mrag_partial_answers_total", strategy="aspect") == 2
    assert value(observer, "mrag_empty_answers_total", strategy="aspect") == 3


def test_the_live_version_is_the_one_last_answered_from() -> None:
    """After a flip the old one is gone from the metrics, not left at 1."""
    answers = [answer(version="v1")]
    app, observer = watched(answers=answers)
    got(app, "/search", KEY, "POST")
    assert value(observer, "mrag_live_version_info", version="v1") == 1
    answers[:] = [answer(version="v2")]
    got(app, "/search", KEY, "POST")
    assert value(observer, "mrag_live_version_info", version="v1") is None
    assert value(observer, "mrag_live_version_info", version="v2") == 1


@pytest.mark.parametrize(
    ("path", "error", "status"),
    [
        ("/broken", "RuntimeError", "500"),
        ("/forbidden", "Forbidden", "403"),
        ("/nowhere", "HTTPException", "404"),
        ("/who", "Unauthorized", "401"),
    ],
)
def test_errors_are_counted_by_type(path: str, error: str, status: str) -> None:
    """Our errors, Starlette's, and bugs."""
    app, observer = watched()
    got(app, path, {} if path == "/who" else KEY)
    assert value(observer, "mrag_errors_total", error=error) == 1
    route = "" if path == "/nowhere" else path
    assert value(observer, "mrag_requests_total", method="GET", route=route, status=status) == 1


def test_refusals_name_the_caller_where_one_is_known() -> None:
    """401 knows none; 429 does; a body over the limit is refused before the key is read."""
    app, observer = watched(ServeSpec(requests_per_minute=1, max_body_kb=1))
    got(app, "/who")
    got(app, "/who", KEY)
    got(app, "/who", KEY)
    got(app, "/size", KEY, "POST", content=b"x" * 2000)
    seen = {
        tuple(sorted(labels)): n
        for (name, labels), n in samples(observer).items()
        if name == "mrag_refused_total"
    }
    assert seen == {
        (("caller", ""), ("status", "401")): 1,
        (("caller", "web"), ("status", "429")): 1,
        (("caller", ""), ("status", "413")): 1,
    }


def test_requests_under_way_are_counted_until_they_end() -> None:
    """Streams to their last byte; the scrape itself and other probes are not among them."""
    app, observer = watched()

    async def asking(client: httpx.AsyncClient) -> list[float | None]:
        task = asyncio.create_task(client.get("/stream", headers=KEY))
        await app.state.streaming.wait()
        during = value(observer, "mrag_requests_in_flight")
        text = (await client.get("/metrics")).text
        assert 'mrag_requests_in_flight{replica="r1"} 1.0' in text
        app.state.go.set()
        await task
        return [during, value(observer, "mrag_requests_in_flight")]

    assert asked(app, asking) == [1, 0]


def test_a_caller_that_leaves_is_a_499() -> None:
    """Cancelled while it waits: over, counted, and no longer under way."""
    app, observer = watched()

    async def asking(client: httpx.AsyncClient) -> None:
        task = asyncio.create_task(client.get("/stream", headers=KEY))
        await app.state.streaming.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asked(app, asking)
    labels = {"method": "GET", "route": "/stream", "status": "499"}
    assert value(observer, "mrag_requests_total", **labels) == 1
    assert value(observer, "mrag_requests_in_flight") == 0


def test_the_metrics_are_text_or_openmetrics_as_the_scraper_asks() -> None:
    """Both can be read; this process's memory is there; every series says its replica."""
    app, observer = watched()
    got(app, "/search", KEY, "POST")
    plain = got(app, "/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert value(observer, "process_resident_memory_bytes") is not None
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    other = got(app, "/metrics", accept)
    assert other.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name for family in text_string_to_metric_families(other.text)}
    assert {"mrag_requests", "mrag_stage_seconds", "mrag_build"} <= families
    assert "_created" not in plain.text + other.text


def test_the_metrics_may_be_for_those_with_a_key() -> None:
    """They name callers and versions."""
    guard = KeyGuard(ServeSpec(), KEYS)
    app = app_with(guard, RequestObserver(ServeSpec(), "r1", door=guard.for_operators()))
    assert got(app, "/metrics").status_code == 401
    assert got(app, "/metrics", KEY).status_code == 200


def test_two_observers_of_one_process_do_not_mix() -> None:
    """Each has a registry of its own; nothing goes into the library's global one."""
    first, second = watched()[1], watched()[1]
    first.metrics.errors.labels("X").inc()
    assert value(second, "mrag_errors_total", error="X") is None


def test_a_request_id_is_made_echoed_and_told_in_problems() -> None:
    """The one that came, if it is sane, in the header of every response and in the problem."""
    app, _ = watched()
    given = got(app, "/nowhere", {"X-Request-ID": "abc-1.2_3"})
    assert given.headers["x-request-id"] == given.json()["request_id"] == "abc-1.2_3"
    made = {got(app, "/livez").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert got(app, "/size", KEY, "POST", content=b"x" * 10**6).headers["x-request-id"]


@pytest.mark.parametrize(
    "odd", ["", "a b", "a" * 129, 'x"y', "a\tb", "ä", "<script>", "a,b", "mrag_secret", "xmrag_y"]
)
def test_an_odd_request_id_is_replaced(odd: str) -> None:
    """It appears in logs; anything that looks like a key is replaced."""
    app, _ = watched()
    told = got(app, "/who", {"X-Request-ID": odd.encode("latin-1")}).headers["x-request-id"]  # type: ignore[dict-item]
    assert told != odd
    assert len(told) == 32


def test_a_request_id_is_left_to_whoever_else_adds_it() -> None:
    """Ray Serve does, to every response; problems and logs still have it."""
    observer = RequestObserver(ServeSpec(), "r1", echoes=False)
    app = app_with(KeyGuard(ServeSpec(), KEYS), observer)
    answer = got(app, "/who", {"X-Request-ID": "mine"})
    assert "x-request-id" not in answer.headers
    assert answer.json()["request_id"] == "mine"


def test_an_apps_own_request_id_header_is_not_doubled() -> None:
    """One request, one id."""
    observer = RequestObserver(ServeSpec(), "r1")
    app = app_with(KeyGuard(ServeSpec(), Keys()), observer)

    @app.get("/own")
    async def own() -> PlainTextResponse:
        return PlainTextResponse("x", headers={"X-Request-ID": "other"})

    assert got(app, "/own", {"X-Request-ID": "mine"}).headers.get_list("x-request-id") == ["mine"]
