"""The request log: its fields, and what never gets in."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.serving.telemetry.request_log import LOGGER, RequestFacts, RequestLog
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.found_answers import answer
from tests.support.http_requests import got
from tests.support.telemetry_readers import KEY, heard, lines, watched


def test_a_search_is_one_line_with_its_figures(caplog: pytest.LogCaptureFixture) -> None:
    """Who, what route, how long by stage, which version, how much."""
    heard(caplog)
    app, _ = watched(answers=[answer(missing=("l05_h01",))])
    got(app, "/search", {**KEY, "X-Request-ID": "r-1"}, "POST", content=b"words")
    (line,) = lines(caplog)
    assert line.pop("time").endswith("Z")
    assert 0 < line.pop("ms") < 10_000
    assert line == {
        "event": "request",
        "request_id": "r-1",
        "method": "POST",
        "route": "/search",
        "status": 200,
        "caller": "web",
        "searches": 1,
        "strategy": "aspect",
        "version": "v1",
        "k": 10,
        "windows": 3,
        "hits": 2,
        "missing": ["l05_h01"],
        "stage_ms": {
            "windows": 1.0,
            "encode": 30.0,
            "search": 10.0,
            "fetch": 4.0,
            "vote": 2.0,
            "total": 47.0,
        },
    }


def test_a_batch_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Its searches added up; the stages, which they share, are not."""
    heard(caplog)
    app, _ = watched(answers=[answer(), answer(strategy="mrag")])
    got(app, "/search", KEY, "POST")
    (line,) = lines(caplog)
    assert (line["searches"], line["windows"], line["hits"]) == (2, 6, 4)
    assert line["strategy"] == ["aspect", "mrag"]
    assert line["stage_ms"]["total"] == 47


def test_a_failure_is_a_line_at_error_level(caplog: pytest.LogCaptureFixture) -> None:
    """With the error's type, without its text."""
    heard(caplog)
    app, _ = watched()
    got(app, "/broken", KEY)
    (line,) = lines(caplog)
    assert (line["status"], line["error"]) == (500, "RuntimeError")
    assert "insides" not in json.dumps(line)
    assert [one.levelno for one in caplog.records if one.name == "mrag.requests"] == [logging.ERROR]


def test_probes_are_logged_only_when_they_fail(caplog: pytest.LogCaptureFixture) -> None:
    """They come every few seconds; a `/readyz` that is not there does not pass."""
    heard(caplog)
    app, _ = watched()
    got(app, "/metrics")
    assert lines(caplog) == []
    got(app, "/readyz")
    assert [line["status"] for line in lines(caplog)] == [404]


def test_the_words_are_logged_if_and_only_if_asked(caplog: pytest.LogCaptureFixture) -> None:
    """`serve.log_queries`."""
    heard(caplog)
    for wanted in (False, True):
        app, _ = watched(ServeSpec(log_queries=wanted))
        got(app, "/search", KEY, "POST", content="wörter\n".encode())
    assert ["queries" in line for line in lines(caplog)] == [False, True]
    assert lines(caplog)[1]["queries"] == ["wörter\n"]


_TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
_SAFE = st.text("abcXYZ019._~ ;,=\"'{}", max_size=20)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=_TEXT, header=_SAFE, path=_SAFE)
def test_no_words_keys_paths_or_headers_get_into_the_log(
    caplog: pytest.LogCaptureFixture, words: str, header: str, path: str
) -> None:
    """Whatever a request sends, its line is one JSON object that quotes none of it."""
    heard(caplog)
    caplog.clear()
    mark = "QzQ"
    app, _ = watched()
    sent = {
        "X-API-Key": f"mrag_{mark}{header}",
        "X-Request-ID": f"{mark} {header}",
        "User-Agent": mark + header,
        "Referer": mark,
        "Cookie": mark,
        "traceparent": mark,
        "X-Forwarded-For": mark,
    }
    got(app, "/search", {**sent, **KEY}, "POST", content=f"{mark}{words}".encode())
    got(app, "/search", sent, "POST", content=mark.encode())
    got(app, f"/items/{mark}", {**sent, **KEY}, params={mark: path})
    got(app, f"/{mark}", sent, "DELETE", params={"q": mark + path})
    written = [one.getMessage() for one in caplog.records if one.name == "mrag.requests"]
    assert [json.loads(line)["status"] for line in written] == [200, 401, 200, 404]
    assert not [line for line in written if mark in line or "mrag_secret" in line or "\n" in line]


def test_lines_go_to_standard_output_and_nothing_else_does() -> None:
    """In a process that configures no logging: one line, JSON, no prefix."""
    program = (
        "from mrag_pipeline.serving.telemetry.request_log import *\n"
        "RequestLog(); RequestLog().write(RequestFacts('r', 'GET', '/x', 200))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["route"] == "/x"
    assert done.stderr == ""


def test_lines_are_appended_to_a_file_even_after_it_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After logrotate moved it; two replicas may share the file."""
    monkeypatch.setattr(logging.getLogger(LOGGER), "handlers", [])
    path = tmp_path / "requests.jsonl"
    path.write_text("before\n")
    log = RequestLog(path=str(path))
    log.write(RequestFacts("a", "GET"))
    path.rename(tmp_path / "requests.1")
    log.write(RequestFacts("b", "GET"))
    kept = (tmp_path / "requests.1").read_text().splitlines()
    assert (kept[0], json.loads(kept[1])["request_id"]) == ("before", "a")
    assert json.loads(path.read_text())["request_id"] == "b"


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    """Not by a service that logs nothing."""
    with pytest.raises(ConfigError, match="request_log"):
        RequestObserver(ServeSpec(request_log=str(tmp_path / "no" / "requests.jsonl")))


def test_a_redirected_standard_output_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Serve replica's stdout goes to Serve's log, whose level drops it."""
    monkeypatch.setattr(logging.getLogger(LOGGER), "handlers", [])
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    RequestLog()
    (handler,) = logging.getLogger(LOGGER).handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.__stdout__
