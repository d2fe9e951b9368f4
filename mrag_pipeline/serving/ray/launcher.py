"""Starts, watches and stops the application on the Ray of this process."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from mrag_pipeline.config import Config
from mrag_pipeline.errors import WorkerLost
from mrag_pipeline.processes import alive_after
from mrag_pipeline.serving.listening import local_url
from mrag_pipeline.serving.ray import haproxy, middlewares

NAME = "mrag"
END_S = 10.0

# Environment variables for Ray and Serve, in this process and in every one that they start.
FAST = {
    # Replicas call each other by gRPC, in their own event loop: measured, docs/decisions/0031.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    # Ray starts workers at nice 15, like batch jobs: any other process would delay the service.
    "RAY_worker_niceness": "0",
    # On a slow machine a proxy imports for longer than 3 times the usual 5 s, and is killed.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": middlewares.PATH,
}
# Ours even if a user has set them: the user's HAProxy is started by our script.
_OURS = (
    "RAY_SERVE_HAPROXY_BINARY_PATH",
    "RAY_SERVE_HAPROXY_SOCKET_PATH",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH",
)


@contextlib.contextmanager
def environment() -> Iterator[Path]:
    """Sets Serve's environment variables within the block; those that a user has set stay.

    Enter it before Ray is started and Serve is imported.

    Yields: a folder of this service alone, for its sockets; removed at the end.
    """
    folder = haproxy.new_folder()
    path = haproxy.binary()
    wanted = dict(FAST)
    if path is not None and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "0":
        wanted |= haproxy.settings(path, folder)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(
        {name: value for name, value in wanted.items() if not before[name] or name in _OURS}
    )
    try:
        yield folder
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
    return local_url(str(listening.host), listening.port)


def family() -> list[psutil.Process]:
    """Every descendant process of this one."""
    return psutil.Process().children(recursive=True)


def stop(shared: bool = False, seconds: float = 0.0) -> None:
    """Stops the application after the requests under way; leaves Ray to the caller.

    Args:
        shared: others use the cluster too; their applications stay.
        seconds: that those requests have, where our own HAProxy stands before them.
    """
    import ray
    from ray import serve

    if not ray.is_initialized():
        return  # it never started, and Serve would start a Ray to look for itself
    if shared:
        serve.delete(NAME)
    else:
        haproxy.finish(family(), seconds)  # Serve would end it first
        serve.shutdown()


def end(processes: list[psutil.Process], seconds: float = END_S) -> None:
    """Waits for the processes to end; kills those that have not ended in time."""
    alive = alive_after(seconds, processes)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    alive_after(seconds, alive)


def _in_background(work: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """Runs the work in a thread that an interrupted caller need not wait for."""
    thread = ThreadPoolExecutor(1, "start")
    future = thread.submit(work, *arguments, **options)
    thread.shutdown(wait=False)
    return future


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
