"""Where a service listens on this machine: whether the port is free, its URL, when it is ready."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable

import psutil

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError, NotReady
from mrag_pipeline.serving.backend import SILENT

# Limit until the service first answers: it may have to load a model first.
READY_S = 600.0
# Limit from the first reason on: a machine busy with starting may be late once.
PATIENCE_S = 10.0


def check_port(host: str, port: int) -> None:
    """Checks that the port can be listened on.

    Raises: ConfigError if it is taken (names the process if that is visible), or if the host is
        not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the proxy opens it: connections that have just ended do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            holder = _holder(port)
            by = f" by {holder.name()}, process {holder.pid}" if holder is not None else ""
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror or error}{by}",
                "a free port of this machine",
                "stop that process, or choose another port: `mrag serve --port 8001`",
            ) from None


def local_url(host: str, port: int) -> str:
    """The URL that reaches the address from this machine."""
    name = _reachable(host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def wait_ready(config: Config, going: Callable[[], bool], seconds: float = READY_S) -> str:
    """Waits until the service is ready; returns "" then, or the reason why it is not.

    Asks over HTTP, as its callers do.

    Args:
        going: returns False to end the waiting.
    Raises: NotReady if nothing of the service has answered when the time is over.
    """
    spec = config.serve
    deadline = time.monotonic() + seconds
    reason = ""
    while going():
        status, detail = _readiness(spec.host, spec.port)
        if status == 200:
            return ""
        # A part that still loads is waited for; so is a proxy that knows no replica yet.
        if detail not in ("", SILENT) and not reason:
            reason = detail
            deadline = min(deadline, time.monotonic() + PATIENCE_S)
        if time.monotonic() >= deadline:
            if not (reason or detail):
                raise NotReady(f"no answer within {seconds:g} s", "a service that starts")
            return reason or detail
        time.sleep(0.05)
    return reason


def _readiness(host: str, port: int) -> tuple[int, str]:
    """Status of /readyz, and the reason if it is not ready; (0, "") without an answer of ours."""
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=30)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
        if not response.headers.get("content-type", "").startswith("application/"):
            return 0, ""
        return response.status, str(json.loads(body).get("detail", ""))
    except (OSError, http.client.HTTPException, ValueError):
        return 0, ""
    finally:
        connection.close()


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def _holder(port: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and len(connection.laddr) == 2
            if listens and tuple(connection.laddr)[1:] == (port,) and connection.pid:
                return psutil.Process(connection.pid)
    return None
