"""The application on the Ray of this process: started, watched, and gone without a trace."""

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
# For replicas to start and to answer for the first time: a model may have to be loaded first.
READY_S = 600.0
# From the first answer on: a machine that is busy with starting may answer too late once.
PATIENCE_S = 10.0
END_S = 10.0

# What Ray and Serve read from the environment, here and in every process of their own.
_FAST = {
    # Calls between replicas go by gRPC, in the loop that has them: measured, docs/decisions/0031.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    # Ray starts its workers at nice 15, as batch jobs: a service would wait for all else here.
    "RAY_worker_niceness": "0",
}


@contextlib.contextmanager
def environment() -> Iterator[Mapping[str, str]]:
    """Serve's settings, in force for what is started within; what a user has set stays.

    To be entered before Ray is started and Serve is imported.
    """
    folder = haproxy.new_folder()
    path = haproxy.binary()
    wanted = dict(_FAST)
    if path is not None and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "0":
        wanted |= haproxy.settings(path, folder)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({n: v for n, v in wanted.items() if not before[n] or n.endswith("_PATH")})
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
    """By the end of the block Serve and the application are imported, meanwhile, in a thread.

    Starting a Ray is mostly waiting for its processes.
    """
    importing = _beside(importlib.import_module, "mrag_pipeline.serving.app")
    yield
    importing.result()


def check_port(host: str, port: int) -> None:
    """Nothing, if the port can be listened on.

    Raises: ConfigError if it is taken, by whom if that can be seen, or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the proxy opens it: connections that have just ended are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            holder = _holder(port)
            by = f" by {holder.name()}, process {holder.pid}" if holder is not None else ""
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror or error}{by}",
                "a free port of this machine",
                "end what listens there, or choose another: `mrag serve --port 8001`",
            ) from None


def start(config: Config) -> str:
    """The application deployed on the Ray that runs, and listening; where, for this machine.

    A Serve that runs there already listens where it did.

    Raises: WorkerLost if it does not come up.
    """
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    from mrag_pipeline.serving.app import build

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # importing it has set another

    spec = config.serve
    app = build(config)
    http = {"host": spec.host, "port": spec.port}
    logs = {"log_level": "WARNING", "enable_access_log": False}
    starting = _beside(
        serve.start, proxy_location="HeadOnly", http_options=http, logging_config=logs
    )
    try:
        # It waits for the proxies; once there is a controller, replicas start beside them.
        while not starting.done():
            with contextlib.suppress(RayServeException):
                _get_global_client()
                break
            time.sleep(0.05)
        serve.run(app, name=NAME, route_prefix="/", blocking=False)
        starting.result()
    except (RuntimeError, TimeoutError) as error:
        raise WorkerLost(
            f"the service did not start: {_last_line(error)}",
            "three deployments that run",
            "MRAG_DEBUG=1 shows all of it",
        ) from error
    listens = _get_global_client().http_config
    return _url(str(listens.host), listens.port)


def wait_ready(config: Config, going: Callable[[], bool], seconds: float = READY_S) -> str:
    """The reason why it is not ready, "" once it is; asked over HTTP, as its callers will.

    Args:
        going: False ends the waiting.
    """
    spec = config.serve
    until = time.monotonic() + seconds
    reason = ""
    while going():
        status, told = _readiness(spec.host, spec.port)
        if status == 200:
            return ""
        # Before the proxy knows its replicas there is no answer of ours.
        if told and not reason:
            reason = told
            until = min(until, time.monotonic() + PATIENCE_S)
        if time.monotonic() >= until:
            if not reason:
                raise NotReady(f"no answer within {seconds:g} s", "a service that starts")
            return reason
        time.sleep(0.05)
    return reason


def family() -> list[psutil.Process]:
    """Every process that this one has started, and those that they have."""
    return psutil.Process().children(recursive=True)


def stop(shared: bool = False) -> None:
    """Requests under way are answered, then the application is gone; Ray is the caller's.

    Args:
        shared: the cluster is others' too; their applications stay.
    """
    import ray
    from ray import serve

    if not ray.is_initialized():
        return  # given up before: Serve would start a Ray to look for itself
    if shared:
        serve.delete(NAME)
    else:
        serve.shutdown()


def end(processes: list[psutil.Process], seconds: float = END_S) -> None:
    """None of them is left: those that have not ended by then are killed, each by its number."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for one in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(alive, timeout=seconds)


def _beside(work: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """The work in a thread, which nobody who is interrupted has to wait for."""
    thread = ThreadPoolExecutor(1, "start")
    done = thread.submit(work, *arguments, **options)
    thread.shutdown(wait=False)
    return done


def _readiness(host: str, port: int) -> tuple[int, str]:
    """Status of /readyz and why not; (0, "") if nobody answers."""
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
        for one in psutil.net_connections("tcp"):
            listens = one.status == psutil.CONN_LISTEN and len(one.laddr) == 2
            if listens and tuple(one.laddr)[1:] == (port,) and one.pid:
                return psutil.Process(one.pid)
    return None


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _url(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"
