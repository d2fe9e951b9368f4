"""Errors become problems: the table, what is shown, what is not."""

from __future__ import annotations

import inspect
import logging

import pytest
from fastapi import FastAPI, HTTPException
from starlette.testclient import TestClient

from mrag_pipeline import errors
from mrag_pipeline.errors import MragError, TooManyRequests
from mrag_pipeline.serving.http import error_handlers, problem_table, problems
from mrag_pipeline.serving.http.problem_table import TABLE, ProblemKind
from mrag_pipeline.serving.http.problems import MEDIA_TYPE
from mrag_pipeline.wire.schemas import Problem

FACTS = ("what was found", "what was expected", "what to do")


def failing(error: Exception) -> TestClient:
    """An app whose one route raises the error."""
    app = FastAPI()

    @app.get("/")
    async def fail() -> None:
        raise error

    error_handlers.install(app)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("kind", "row"), TABLE.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_every_row_of_the_table_is_what_is_answered(
    kind: type[MragError], row: ProblemKind
) -> None:
    """Status, title, type and media type; the facts too, unless the row has other words."""
    response = failing(kind(*FACTS)).get("/")
    assert response.status_code == row.status
    assert response.headers["content-type"] == MEDIA_TYPE
    told = Problem.model_validate_json(response.content)
    assert (told.status, told.title) == (row.status, row.title)
    assert told.type.startswith("urn:mrag:problem:")
    assert len(told.request_id) == 32
    if row.instead:
        assert told.detail == row.instead
        assert not any(fact in response.text for fact in FACTS)
    else:
        assert (told.detail, told.expected, told.fix) == FACTS


def test_every_error_of_ours_has_a_status_or_is_internal() -> None:
    """Nothing of the tree is a success, and types tell the rows apart."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    for kind in kinds:
        assert issubclass(kind, BaseException)
        name, row = problem_table.kind_of(kind)
        assert 400 <= row.status <= 599
        assert name.startswith("urn:mrag:problem:")
    assert problem_table.kind_of(errors.BadVectors)[1] is problem_table.INTERNAL
    assert len({problem_table.type_of(kind) for kind in TABLE}) == len(TABLE)


def test_the_nearest_class_counts() -> None:
    """A key's own limit is 429 though its parent is 503."""
    assert problem_table.kind_of(errors.TooManyRequests)[1].status == 429
    assert problem_table.kind_of(errors.Overloaded)[1].status == 503
    assert problem_table.type_of(errors.TooManyRequests) == "urn:mrag:problem:too-many-requests"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret /etc/passwd"), KeyError("secret"), errors.BadVectors("secret", "", "")],
)
def test_what_the_table_does_not_name_tells_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A 500 has an id; the log has the error under it."""
    with caplog.at_level(logging.ERROR):
        response = failing(error).get("/")
    assert response.status_code == 500
    assert "secret" not in response.text
    [record] = [one for one in caplog.records if one.name == problems.__name__]
    assert response.json()["request_id"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_refusal_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Errors of the caller are not logged."""
    with caplog.at_level(logging.INFO, logger=problems.__name__):
        failing(errors.ConfigError("k = 0")).get("/")
    assert [one for one in caplog.records if one.name == problems.__name__] == []


def test_an_engine_that_fails_is_logged_with_its_address(caplog: pytest.LogCaptureFixture) -> None:
    """The caller learns only which part failed."""
    with caplog.at_level(logging.WARNING):
        response = failing(errors.IndexUnavailable("no answer from http://10.0.0.7")).get("/")
    assert "10.0.0.7" not in response.text
    assert "10.0.0.7" in caplog.text
    assert response.json()["request_id"] in caplog.text


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (TooManyRequests("too many", retry_after_s=2.3), "retry-after", "3"),
        (TooManyRequests("too many", retry_after_s=0.0), "retry-after", "1"),
        (errors.Overloaded("full"), "retry-after", "1"),
        (errors.NotReady("starting"), "retry-after", "2"),
        (errors.Unauthorized("no key"), "www-authenticate", "Bearer"),
    ],
)
def test_headers_say_when_to_ask_again_and_how(error: Exception, header: str, value: str) -> None:
    """Whole seconds, never 0; the scheme of the key."""
    assert failing(error).get("/").headers[header] == value


def test_half_a_surrogate_pair_can_be_told() -> None:
    """Half a surrogate pair is replaced instead of breaking the response."""
    response = failing(errors.ConfigError("strategy '\ud800'")).get("/")
    assert response.status_code == 422
    assert response.json()["detail"] == "strategy '?'"


def test_the_routers_own_errors_are_problems_too() -> None:
    """No such path, no such method (with Allow), and an HTTPException."""
    client = failing(HTTPException(418, "short and stout"))
    assert client.get("/nowhere").json()["title"] == "Not Found"
    refused = client.post("/")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET"
    assert refused.headers["content-type"] == MEDIA_TYPE
    assert "short and stout" in client.get("/").json()["detail"]


def test_the_middleware_sees_the_500() -> None:
    """A bug becomes a response inside the other middleware, not around it."""
    seen: list[int] = []
    client = failing(RuntimeError("bug"))
    app = client.app

    class Watching:
        def __init__(self, app):  # type: ignore[no-untyped-def]
            self.app = app

        async def __call__(self, scope, receive, send):  # type: ignore[no-untyped-def]
            async def watched(message):  # type: ignore[no-untyped-def]
                if message["type"] == "http.response.start":
                    seen.append(message["status"])
                await send(message)

            await self.app(scope, receive, watched)

    app.add_middleware(Watching)  # type: ignore[attr-defined]
    client.get("/")
    assert seen == [500]
