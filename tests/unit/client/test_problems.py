"""Errors of calls: their fields, what is retried, and what no error shows."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.client import (
    AsyncClient,
    Client,
    ServiceBusy,
    ServiceProblem,
    ServiceRefused,
    ServiceUnreachable,
)
from mrag_pipeline.client.problems import seconds_in, service_problem
from mrag_pipeline.errors import ConfigError, PermanentError, TransientError
from tests.support.client_service import ANSWER, URL, Scripted, each_client, problem

GOOD = httpx.Response(200, json=ANSWER)
KEY = "mrag_secret_of_a_caller"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that either client waits between attempts; no time passes."""
    seconds: list[float] = []

    async def wait(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr(time, "sleep", seconds.append)
    monkeypatch.setattr(asyncio, "sleep", wait)
    return seconds


@each_client
def test_a_problem_is_told_field_by_field(asking: Any) -> None:
    """Detail, expectation and fix arrive as they were sent."""
    told = problem(
        404, title="Not found", detail="no such", expected="an id", fix="look", request_id="r1"
    )
    with pytest.raises(ServiceRefused) as found:
        asking(Scripted(told), "search", "bees")
    error = found.value
    assert (error.status, error.title, error.detail) == (404, "Not found", "no such")
    assert (error.expected, error.fix, error.request_id) == ("an id", "look", "r1")
    assert error.retry_after is None
    assert str(error).splitlines() == [
        "404 Not found: no such",
        "expected: an id",
        "to fix: look",
        "request: r1",
    ]


@each_client
def test_the_places_of_a_wrong_body_are_told(asking: Any) -> None:
    """A 422's places are in the detail."""
    told = problem(422, errors=[{"loc": ["body", "k"], "msg": "too large", "type": "x"}])
    with pytest.raises(ServiceRefused, match=r"why \(body.k: too large\)"):
        asking(Scripted(told), "search", "bees")


@each_client
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(asking: Any, status: int) -> None:
    """Two temporary refusals are retried."""
    service = Scripted(problem(status, "0"), problem(status, "0"), GOOD)
    assert asking(service, "search", "bees").version == "v1"
    assert len(service.requests) == 3


@each_client
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 500, 501, 502, 504])
def test_other_problems_are_told_at_once(asking: Any, status: int) -> None:
    """Requests that were refused, failed, or timed out are not retried."""
    service = Scripted(problem(status, "0"))
    with pytest.raises(ServiceProblem):
        asking(service, "search", "bees")
    assert len(service.requests) == 1


@each_client
def test_attempts_are_bounded(asking: Any) -> None:
    """The last refusal is the error."""
    service = Scripted(problem(503, "0"))
    with pytest.raises(ServiceBusy):
        asking(service, "search", "bees", settings={"attempts": 3})
    assert len(service.requests) == 3


@each_client
def test_retry_after_is_waited_for(asking: Any, waits: list[float]) -> None:
    """The retry comes after exactly the seconds of Retry-After."""
    asking(Scripted(problem(429, "7"), GOOD), "search", "bees")
    assert waits == [7.0]


@each_client
def test_a_wait_beyond_patience_is_not_begun(asking: Any, waits: list[float]) -> None:
    """A Retry-After of an hour raises at once."""
    service = Scripted(problem(429, "3600"), GOOD)
    with pytest.raises(ServiceBusy) as found:
        asking(service, "search", "bees")
    assert found.value.retry_after == 3600.0
    assert len(service.requests) == 1
    assert waits == []


@each_client
def test_a_connection_that_never_came_about_is_tried_again(asking: Any, waits: list[float]) -> None:
    """Nothing was sent, so a retry cannot repeat work."""
    service = Scripted(httpx.ConnectError("refused"), GOOD)
    assert asking(service, "search", "bees").version == "v1"
    assert len(waits) == 1


@each_client
@pytest.mark.parametrize(
    "broken", [httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut"), httpx.ReadError("")]
)
def test_a_connection_that_broke_is_told(asking: Any, broken: Exception) -> None:
    """No retry: the request may have been processed."""
    service = Scripted(broken)
    with pytest.raises(ServiceUnreachable, match=type(broken).__name__):
        asking(service, "search", "bees")
    assert len(service.requests) == 1


@each_client
def test_a_proxy_s_page_is_a_problem_too(asking: Any) -> None:
    """A body without problem details still gives status, reason and its first characters."""
    page = httpx.Response(502, headers={"x-request-id": "r9"}, content=b"<h1>Bad</h1>" * 100)
    with pytest.raises(ServiceBusy) as found:
        asking(Scripted(page), "search", "bees")
    assert found.value.title == "Bad Gateway"
    assert found.value.request_id == "r9"
    assert len(found.value.detail) == 200


@each_client
@pytest.mark.parametrize(
    ("answer", "is_ready"),
    [
        (httpx.Response(200, json={"ready": True}), True),
        (problem(503, "60"), False),
        (httpx.Response(404, text="Path '/readyz' not found"), False),
        (httpx.ConnectError("nobody"), False),
    ],
)
def test_ready_says_yes_or_not_yet(asking: Any, answer: Any, is_ready: bool) -> None:
    """At once, without a second try."""
    service = Scripted(answer)
    assert asking(service, "ready") is is_ready
    assert [request.url.path for request in service.requests] == ["/readyz"]


@each_client
def test_ready_is_no_guess(asking: Any) -> None:
    """Any other response is an error."""
    with pytest.raises(ServiceRefused):
        asking(Scripted(problem(401)), "ready")


def test_errors_say_whether_trying_again_can_help() -> None:
    """By their place in the package's tree."""
    assert isinstance(service_problem(429, "", b""), TransientError)
    assert isinstance(service_problem(403, "", b""), PermanentError)


def test_a_problem_survives_pickling() -> None:
    """It can cross processes with all its fields."""
    error = ServiceBusy(503, "Busy", "full", "room", "wait", "r1", 2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ServiceBusy
    assert copy.__dict__ == error.__dict__
    assert str(copy) == str(error)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0", 0.0), ("1.5", 1.5), ("", None), ("-1", None), ("soon", None), (".", None)],
)
def test_seconds_of_a_retry_after(text: str, seconds: float | None) -> None:
    """Seconds, or nothing where it says nothing."""
    assert seconds_in(text) == seconds


def test_a_retry_after_may_be_a_date() -> None:
    """As HTTP allows; one in the past is now."""
    assert seconds_in(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert seconds_in("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@given(st.text(), st.binary(), st.integers(300, 599))
def test_no_answer_breaks_the_reading_of_problems(header: str, content: bytes, status: int) -> None:
    """Any response body becomes a problem."""
    assert seconds_in(header) is None or seconds_in(header) >= 0  # type: ignore[operator]
    assert service_problem(status, "", content).status == status


# ------------------------------------------------------------------ the key
@each_client
def test_the_key_comes_from_the_argument_or_the_environment(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument counts first; an empty one sends none."""
    monkeypatch.setenv("MRAG_API_KEY", "of-the-environment\n")
    service = Scripted(GOOD)
    asking(service, "search", "bees")
    asking(service, "search", "bees", settings={"api_key": "given"})
    asking(service, "search", "bees", settings={"api_key": ""})
    assert [request.headers.get("authorization") for request in service.requests] == [
        "Bearer of-the-environment",
        "Bearer given",
        None,
    ]


@each_client
def test_the_key_is_never_told(asking: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No error and no log shows the key, at any log level."""
    caplog.set_level(logging.DEBUG)
    errors = []
    for answer in (problem(401), problem(503, "0"), httpx.ReadError("cut")):
        with pytest.raises((ServiceProblem, ServiceUnreachable)) as found:
            asking(Scripted(answer), "search", "bees", settings={"api_key": KEY, "attempts": 2})
        errors.append(repr(found.value) + str(found.value))
    assert KEY not in caplog.text + "".join(errors)


def test_no_text_of_a_client_holds_the_key() -> None:
    """Neither its own nor its settings'."""
    for client in (Client(URL, api_key=KEY), AsyncClient(URL, api_key=KEY)):
        assert KEY not in repr(client) + str(client) + repr(client._connection)
        assert URL in repr(client)


def test_the_key_does_not_follow_a_redirect() -> None:
    """A redirect is an error; it is not followed to another host."""
    service = Scripted(httpx.Response(307, headers={"location": "http://other/v1/search"}))
    with (
        Client(URL, api_key=KEY, transport=httpx.MockTransport(service)) as client,
        pytest.raises(ServiceRefused, match="307"),
    ):
        client.search("bees")
    assert [request.url.host for request in service.requests] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout_s": 0},
        {"attempts": 0},
        {"patience_s": float("inf")},
        {"api_key": "é"},
        {"api_key": "a\r\nX: y"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    """Before anything is sent; the key is not shown."""
    with pytest.raises(ConfigError) as found:
        Client(URL, **settings)
    assert "X: y" not in str(found.value)
