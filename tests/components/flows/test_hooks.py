"""The webhook that is called when a run fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest

from mrag_pipeline.flows.failure_hooks import tell
from tests.support.loopback_server import LoopbackServer, Quiet


@pytest.fixture
def heard() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on the loopback, and what was posted to it."""
    posted: list[dict[str, Any]] = []

    class Hook(Quiet, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            posted.append(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

    with LoopbackServer(Hook) as server:
        yield f"{server.endpoint}/", posted


def a_failure(**parameters: Any) -> tuple[Any, Any, Any]:
    run = SimpleNamespace(name="brave-otter", id="17", parameters=parameters, deployment_id=None)
    return (
        SimpleNamespace(name="mrag-sync"),
        run,
        SimpleNamespace(name="Failed", message="the disk is full"),
    )


def test_the_webhook_gets_the_failed_run(
    heard: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow, the run, its state and why; the configured variable holds the address."""
    url, posted = heard
    monkeypatch.setenv("HOOK_OF_OURS", url)
    tell(*a_failure(settings={"notify": {"webhook_env": "HOOK_OF_OURS"}}))
    assert posted == [
        {
            "flow": "mrag-sync",
            "run": "brave-otter",
            "run_id": "17",
            "state": "Failed",
            "message": "the disk is full",
        }
    ]


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "http://127.0.0.1:9/", "not a url"])
def test_a_failing_webhook_raises_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own error stays the only one; only http and https are opened."""
    monkeypatch.setenv("MRAG_WEBHOOK", url)
    tell(*a_failure())


def test_an_invalid_config_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has failed because of it already."""
    monkeypatch.delenv("MRAG_WEBHOOK", raising=False)
    tell(*a_failure(config_file="/no/such/file.toml", settings={"no": "such"}))
