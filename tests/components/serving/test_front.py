"""How HAProxy before Serve's replicas is started, and what is changed in its config."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from ray.serve._private import constants

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving import address_limit
from mrag_pipeline.serving.ray import haproxy, launcher
from tests.support.serve_nodes import asked_variables

FRONTEND = "defaults\nfrontend http_frontend\n    bind *:8000\n"


def test_a_cluster_has_the_front_that_mrag_serve_has(tmp_path: Path) -> None:
    """What serve.yaml asks for is what the launcher sets, and Ray knows each name."""
    asked = asked_variables()
    assert asked.pop("RAY_AUTH_MODE") == "token"
    given = launcher.FAST | dict(haproxy.settings(tmp_path / "real", tmp_path))
    given["RAY_SERVE_HAPROXY_BINARY_PATH"] = "/opt/mrag-haproxy/haproxy"  # the image's
    assert {name: given[name] for name in asked} == asked
    front = {name for name in given if "HAPROXY" in name or "PROXY_HEALTH" in name}
    of_one_service = {name for name in front if str(tmp_path) in given[name] or "PORT" in name}
    assert front - of_one_service - set(asked) == {"RAY_SERVE_HAPROXY_NBTHREAD"}
    known = Path(constants.__file__).read_text("utf-8")
    assert [name for name in asked if "SERVE" in name and f'"{name}"' not in known] == []


def test_haproxys_pages_are_for_this_machine_only(tmp_path: Path) -> None:
    """Its two ports are put on loopback in the file that it is started with; the service's not.

    It logs no requests, and does not wait for half of one. While no replica is there it says so.
    A file that it has changed it leaves as it is.
    """
    fake = tmp_path / "real haproxy"
    fake.write_text('#!/bin/sh\ncat "$3"; echo "$@"\n')
    fake.chmod(0o700)
    values = haproxy.settings(fake, tmp_path)
    stats = values["RAY_SERVE_HAPROXY_STATS_PORT"]
    metrics = values["RAY_SERVE_HAPROXY_METRICS_PORT"]
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "global\n    log 127.0.0.1:514 local0 info\n    stats socket /a/b mode 666 level admin\n"
        "    maxconn 9\ndefaults\n    mode http\n"
        "    errorfile 502 /a/500.http\n    errorfile 503 /a/500.http\n"
        "    errorfile 504 /a/500.http\n"
        f"frontend prometheus\n    bind :{metrics}\n    mode http\n"
        f"frontend http_frontend\n    bind *:8000\n"
        "backend default_backend\n    http-request return status 404 content-type text/plain "
        f'lf-string "Path not found."\nlisten stats\n  bind *:{stats}\n'
    )
    place = f'file "{tmp_path}/away.json"'
    away = f"content-type application/problem+json {place} hdr Retry-After 2"
    script = values["RAY_SERVE_HAPROXY_BINARY_PATH"]
    assert stat.S_IMODE(os.stat(script).st_mode) == 0o755
    for _ in range(2):
        said = subprocess.run(
            [script, "-db", "-f", str(config), "-dR"], capture_output=True, text=True, check=True
        ).stdout
    assert said.splitlines() == [
        "# Changed by mrag-pipeline",
        "global",
        "    stats socket /a/b mode 600 level admin",
        "    maxconn 9",
        "defaults",
        "    timeout http-request 10s",
        "    option http-buffer-request",
        "    mode http",
        f'    errorfile 502 "{tmp_path}/away.http"',
        f'    errorfile 503 "{tmp_path}/away.http"',
        "frontend prometheus",
        f"    bind 127.0.0.1:{metrics}",
        "    mode http",
        "frontend http_frontend",
        "    stick-table type ipv6 size 100k expire 60s store conn_cur",
        "    tcp-request connection track-sc0 src",
        "    tcp-request connection reject if { sc0_conn_cur gt 1000 }",
        "    bind *:8000",
        "backend default_backend",
        f"    http-request return status 503 {away}",
        "listen stats",
        f"  bind 127.0.0.1:{stats}",
        f"-db -f {config} -dR",
    ]


@pytest.mark.parametrize(("given", "limit"), [("", 1000), ("50", 50), ("5000", 5000), ("0", None)])
def test_the_environment_says_how_many_connections_one_address_may_hold(
    given: str, limit: int | None, tmp_path: Path
) -> None:
    """The script reads it where it is run; 0 is no limit."""
    script, config = haproxy.write_script(Path("/bin/true"), tmp_path), tmp_path / "haproxy.cfg"
    config.write_text(FRONTEND)
    environment = os.environ | {address_limit.VARIABLE: given}
    subprocess.run([str(script), "-f", str(config)], env=environment, check=True)
    changed = config.read_text()
    assert re.findall(r"sc0_conn_cur gt (\d+) }$", changed, re.MULTILINE) == (
        [] if limit is None else [str(limit)]
    )
    assert ("stick-table" in changed) == ("track-sc0" in changed) == (limit is not None)
    assert "timeout http-request" in changed


def test_a_limit_that_is_no_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the script, which starts nothing, and before `mrag serve` starts Ray."""
    script, config = haproxy.write_script(Path("/bin/true"), tmp_path), tmp_path / "haproxy.cfg"
    config.write_text(FRONTEND)
    monkeypatch.setenv(address_limit.VARIABLE, "5; exit 0")
    command = [str(script), "-f", str(config)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert address_limit.VARIABLE in refused.stderr
    assert config.read_text() == FRONTEND
    with pytest.raises(ConfigError, match=address_limit.VARIABLE):
        haproxy.settings(Path("/bin/true"), tmp_path)
