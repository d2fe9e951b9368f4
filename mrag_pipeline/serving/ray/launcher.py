"""Starts, watches and stops the application on the Ray of this process."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError, NotReady, WorkerLost
from mrag_pipeline.serving.ray import haproxy

NAME = "mrag"
# Limit until replicas first answer: they may have to load a model first.
READY_S = 600.0
# Limit from the first answer on: a machine busy with starting may be late once.
PATIENCE_S = 10.0
END_S = 10.0

# Environment variables for Ray and Serve, in this process and in every one that they start.
_FAST = {
    # Replicas call each other by gRPC, in their own event loop: measured, docs/decisions/0031.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    # Ray starts workers at nice 15, like batch jobs: any other process would delay the service.
    "RAY_worker_niceness": "0",
}


@contextlib.contextmanager
def environment() -> Iterator[Mapping[str, str]]:
    """Sets Serve's environment variables within the block; those that a user has set stay.

    Enter it before Ray is started and Serve is imported.
    """
    folder = haproxy.new_folder()
    path = haproxy.binary()
    wanted = dict(_FAST)
    if path is not None and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "0":
        wanted |= haproxy.settings(path, folder)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(
        {
            name: value
            for name, value in wanted.items()
            if not before[name] or name.endswith("_PATH")
        }
    )
    try:
        yield wanted
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def imported() -> Iterator[None]:
    """Imports Serve and the application in a thread; they are imported at the end of the block.

    Starting Ray is mostly waiting for its processes.
    """
    importing = _in_background(importlib.import_module, "mrag_pipeline.serving.app")
    yield
    importing.result()


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


def start(config: Config) -> str:
    """Deploys the application on the running Ray; returns its URL on this machine.

    If Serve already runs there, it keeps its host and port.

    Raises: WorkerLost if the application does not start.
    """
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    from mrag_pipeline.serving.app import build

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # importing Serve has set another level

    spec = config.serve
    app = build(config)
    http = {"host": spec.host, "port": spec.port}
    logs = {"log_level": "WARNING", "enable_access_log": False}
    starting = _in_background(
        serve.start, proxy_location="HeadOnly", http_options=http, logging_config=logs
    )
    try:
        # `serve.start` waits for the proxies; replicas can start as soon as there is a controller.
        while not starting.done():
            with contextlib.suppress(RayServeException):
                _get_global_client()
                break
            time.sleep(0.05)
        serve.run(app, name=NAME, route_prefix="/", blocking=False)
        starting.result()
    except (RuntimeError, TimeoutError, RayError) as error:
        raise WorkerLost(
            f"the service did not start: {_last_line(error)}",
            "three running deployments",
            "set MRAG_DEBUG=1 to see the full error",
        ) from error
    listening = _get_global_client().http_config
    return _url(str(listening.host), listening.port)


def wait_ready(config: Config, going: Callable[[], bool], seconds: float = READY_S) -> str:
    """Waits until the service is ready; returns "" then, or the reason why it is not.

    Asks over HTTP, as its callers do.

    Args:
        going: returns False to end the waiting.
    """
    spec = config.serve
    deadline = time.monotonic() + seconds
    reason = ""
    while going():
        status, detail = _readiness(spec.host, spec.port)
        if status == 200:
            return ""
        # Until the proxy knows its replicas, the answer is not ours.
        if detail and not reason:
            reason = detail
            deadline = min(deadline, time.monotonic() + PATIENCE_S)
        if time.monotonic() >= deadline:
            if not reason:
                raise NotReady(f"no answer within {seconds:g} s", "a service that starts")
            return reason
        time.sleep(0.05)
    return reason


def family() -> list[psutil.Process]:
    """Every descendant process of this one."""
    return psutil.Process().children(recursive=True)


def stop(shared: bool = False) -> None:
    """Stops the application after the requests under way; leaves Ray to the caller.

    Args:
        shared: others use the cluster too; their applications stay.
    """
    import ray
    from ray import serve

    if not ray.is_initialized():
        return  # it never started, and Serve would start a Ray to look for itself
    if shared:
        serve.delete(NAME)
    else:
        serve.shutdown()


def end(processes: list[psutil.Process], seconds: float = END_S) -> None:
    """Waits for the processes to end; kills those that have not ended in time."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds)


def _in_background(work: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """Runs the work in a thread that an interrupted caller need not wait for."""
    thread = ThreadPoolExecutor(1, "start")
    future = thread.submit(work, *arguments, **options)
    thread.shutdown(wait=False)
    return future


def _readiness(host: str, port: int) -> tuple[int, str]:
    """Status of /readyz, and the reason if it is not ready; (0, "") without an answer of ours."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(name, port, timeout=30)
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


def _holder(port: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and len(connection.laddr) == 2
            if listens and tuple(connection.laddr)[1:] == (port,) and connection.pid:
                return psutil.Process(connection.pid)
    return None


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _url(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"
