"""Connects to a running Ray cluster, or starts a local one for this process."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import parameter, ray_constants, worker
from ray.exceptions import AuthenticationError, RayError

from mrag_pipeline import environment
from mrag_pipeline.domain.worker_plan import NodeRoom
from mrag_pipeline.errors import WorkerLost
from mrag_pipeline.processes import alive_after
from mrag_pipeline.runtime import session_folder
from mrag_pipeline.runtime.parts import Parts

log = logging.getLogger(__name__)

_TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"

_parts = Parts()  # those of this process's Ray
_session: Path | None = None  # the folder of this process's Ray
# Ray gives each part 30 s. One whose program is not in memory may need longer on a slow disk; the
# next time it is there. So the control service may fail the first time and the raylet the second.
_STARTS = 3
ENDS_S = 5.0  # that Ray's processes have to end, before their folder is removed


def connect_ray(address: str) -> bool:
    """Connects to the cluster, or starts a local one if the address is empty.

    Returns: whether a connection was made here, which the caller then has to end.
    Raises: WorkerLost if no cluster answers, or a local one does not start.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with _own_sigterm():
        if address:
            _join(address)
        else:
            start_local()
    return True


def _log_message(message: dict[str, Any], **_: bool) -> None:
    """Logs what the raylet reports, such as a lost worker.

    Ray prints it to standard output, where a command with --json prints JSON alone;
    `log_to_driver=False` does not change that.
    """
    log.info("ray_message lines=%s", message["lines"])


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps the handler of SIGTERM: Ray's prints a stack and aborts the process."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _join(address: str) -> None:
    worker.print_to_stdstream = _log_message
    try:
        with warnings.catch_warnings(action="ignore"):  # the error has the same information
            _reach(address)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        if _is_refused(error):
            raise WorkerLost(
                f"the Ray cluster at {address!r} refuses this process: no token, or a wrong one",
                "the token that the cluster was started with",
                f"{_TOKEN} (`ray get-auth-token` on the head node prints it)",
            ) from None
        # Ray's message may contain another process's traceback; its last line is the error.
        message = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise WorkerLost(
            f"no Ray cluster at {address!r}: {message}",
            "a running head node that this machine can reach",
            "start one with `ray start --head`, or leave workers.address empty for a local one; "
            f"if it requires a token, {_TOKEN}",
        ) from None


def _reach(address: str) -> None:
    for last in (False, True):
        try:
            ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            # The server for a remote driver may start too slowly on a busy head: try once more.
            if last or "Starting Ray client server failed" not in str(error):
                raise
        else:
            return


def _is_refused(error: BaseException | None) -> bool:
    """Whether the cluster refused to authenticate us; only the error's cause says so."""
    while error is not None:
        if isinstance(error, AuthenticationError) or "InvalidAuthToken" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def start_local(num_cpus: int | None = None, num_gpus: int | None = None) -> None:
    """Starts a local Ray, with all CPUs and GPUs of the machine unless numbers are given.

    All its ports are on loopback; those that take work ask for Ray's token, too, whatever
    RAY_AUTH_MODE is: it is a choice for a cluster, and other users of this machine reach loopback.

    Raises: WorkerLost if it fails to start three times; ConfigError if there is no place for its
        sockets.
    """
    environment.sockets_folder()
    worker.print_to_stdstream = _log_message
    _give_token()
    for started in range(1, _STARTS + 1):
        try:
            with _on_loopback(), _on_free_ports(), _parts.starting():
                ray.init(
                    "local",
                    num_cpus=num_cpus,
                    num_gpus=num_gpus,
                    include_dashboard=False,
                    logging_level="ERROR",
                    log_to_driver=False,
                )
        except Exception as error:
            # On busy machines a part of Ray may answer too late (after 30 s, which is fixed). The
            # error may be of any type, even a plain Exception.
            if not isinstance(error, (ConnectionError, RuntimeError, TimeoutError)) and (
                "timed out during startup" not in str(error)
            ):
                raise
            ray.shutdown()
            if started == _STARTS:
                raise WorkerLost(
                    f"a local Ray did not start: {error}",
                    "its server to answer within 30 s",
                    "run the same command again when the machine is less busy, or set "
                    "workers.pool = 'serial'",
                ) from None
        else:
            _take_session()
            return


def _take_session() -> None:
    """Marks the new Ray's folder as ours; removes those that earlier ones have left."""
    global _session
    node = getattr(worker, "_global_node", None)  # private: without it the folder stays
    if node is None:
        return
    _session = Path(node.get_session_dir_path())
    session_folder.mark(_session)
    session_folder.remove_ended(_session.parent)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """A Ray started within it listens on 127.0.0.1 alone, as Ray has it on macOS and Windows.

    Otherwise it answers every address of the machine; given `_node_ip_address`, it takes 127.0.0.1
    for a mistake and puts the machine's address in its place.
    """
    variable = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(variable)
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[variable] = "0"  # for the processes that Ray starts
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        if before[1] is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = before[1]


@contextmanager
def _on_free_ports() -> Iterator[None]:
    """A Ray started within it takes a free port for its agent's HTTP server.

    Its own is the same for every Ray: where another one on this machine has it, or has just ended,
    the start waits 4 s for it and goes on without.
    """
    made = parameter.RayParams
    parameter.RayParams = partial(made, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = made


def _give_token() -> None:
    """The new Ray asks for a token: its own, where the one kept at home cannot be written."""
    # Ray puts "token" there when it starts a Ray of its own and finds nothing.
    if os.environ.pop("RAY_AUTH_MODE", "token").lower() != "token":
        log.info("ray_token_kept reason=RAY_AUTH_MODE is for clusters")
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    home = environment.home()
    kept = home is not None and (home / ".ray" / "auth_token").exists()
    if not named and not kept and not environment.home_is_writable():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def answering() -> Iterator[None]:
    """Turns Ray's error for a lost cluster into one that says what to do."""
    try:
        yield
    except ConnectionError as error:
        raise WorkerLost(
            f"the Ray cluster stopped answering: {error}",
            "its head node to be reachable",
            "run the same command again when it is back; finished shards are kept",
        ) from None
    except SystemError as error:
        # So Ray's compiled code wraps what a signal's handler raised while it waited.
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


def check_alive() -> None:
    """Returns while the local Ray of this process runs, or if it has none.

    Ray itself notices minutes later that a part of it has ended, or never.
    Raises: RayBroken, naming the part.
    """
    _parts.check()


def disconnect_ray() -> None:
    """Disconnects from the cluster; stops a local one."""
    global _session
    session, _session = _session, None
    _parts.leave_alone()
    if _parts.are_running():
        ray.shutdown()
        if session is not None:
            alive_after(ENDS_S, _parts.all())
            with suppress(OSError):  # somebody else is tidying up
                session_folder.remove(session)
    else:  # its logs may say why
        # Ray would wait half a minute for the part that has ended.
        atexit.unregister(ray.shutdown)
        for process in _parts.all():
            with suppress(psutil.Error):
                process.kill()  # its workers end when it does
    _parts.forget()


def describe_ray(address: str) -> str:
    """One line for people: Ray's version, CPUs, GPUs and nodes.

    Raises: WorkerLost if no cluster answers, or it has no CPU.
    """
    started = connect_ray(address)
    try:
        resources, nodes = ray.cluster_resources(), num_nodes()
    finally:
        if started:
            disconnect_ray()
    if not resources.get("CPU"):
        raise WorkerLost("Ray has no CPUs", "at least one CPU", "check the head node")
    on = f" on {nodes} nodes" if nodes > 1 else ""
    counts = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return f"{ray.__version__}: {counts}{on}"


def num_nodes() -> int:
    """How many nodes of the cluster are alive."""
    return len(node_rooms())


def node_rooms() -> list[NodeRoom]:
    """The cluster's nodes that are alive, with what each has."""
    alive = [(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [NodeRoom(name, has.get("CPU", 0.0), has.get("GPU", 0.0)) for name, has in alive]
