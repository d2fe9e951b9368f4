"""An app with handmade answers, watched by the real observer."""

# No `from __future__ import annotations`: FastAPI reads these, and they name the guard.

import json
import logging
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from prometheus_client.parser import text_string_to_metric_families

from mrag_pipeline.query.answer import Answer
from mrag_pipeline.serving.security.guard import KeyCaller, KeyGuard
from mrag_pipeline.serving.security.keys import ApiKey, Keys, digest
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.serving.telemetry.request_log import LOGGER
from mrag_pipeline.serving.telemetry.tracing import Traces
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.found_answers import answer, ask
from tests.support.http_requests import app_with

KEY = {"X-API-Key": "mrag_secret"}
KEYS = Keys([ApiKey("web", digest("mrag_secret"))])


def watched(
    spec: ServeSpec | None = None,
    answers: list[Answer] | None = None,
    keys: Keys = KEYS,
    traces: Traces | None = None,
) -> tuple[FastAPI, RequestObserver]:
    """The app: `/search` returns the answers, or one with its body's words everywhere."""
    spec = spec or ServeSpec()
    guard = KeyGuard(spec, keys)
    observer = RequestObserver(spec, "r1", traces=traces)
    app = app_with(guard, observer)

    @app.post("/search")
    async def search(request: Request, caller: Annotated[KeyCaller, Depends(guard)]) -> int:
        words = (await request.body()).decode()
        found = [answer(words)] if answers is None else answers
        observer.answered(request, found, [ask(words)] * len(found))
        return len(found)

    return app, observer


def samples(observer: RequestObserver) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample's value by name and labels, read back from the text that Prometheus gets."""
    text = observer.metrics.text()[0].decode()
    read = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {**sample.labels}
            assert labels.pop("replica") == "r1"
            read[sample.name, frozenset(labels.items())] = sample.value
    return read


def value(observer: RequestObserver, name: str, **labels: str) -> float | None:
    """One sample's value, None if there is none."""
    return samples(observer).get((name, frozenset(labels.items())))


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The request log's lines."""
    return [json.loads(one.getMessage()) for one in caplog.records if one.name == LOGGER]


def heard(caplog: pytest.LogCaptureFixture) -> None:
    """Makes the request log readable from now on."""
    logger = logging.getLogger(LOGGER)
    if caplog.handler not in logger.handlers:
        logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, LOGGER)
