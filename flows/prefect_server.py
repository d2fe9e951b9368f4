"""The Prefect server that flows report to: the configured one, or one started for this process."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import prefect
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    get_current_settings,
    temporary_settings,
)

from mrag_pipeline.errors import ConfigError, TransientError

TIMEOUT_S = 5
ATTEMPTS = 3  # another process may take the port first
_POLL_S = 0.05
_STOP_S = 5.0


class PrefectNotStarted(TransientError):
    """The local Prefect server ended, or did not answer in time."""


def describe() -> str:
    """One line for people: Prefect's version, and where its server is.

    Raises: ConfigError if the configured server does not answer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return f"{prefect.__version__}: local, started with each run"
    try:
        _ask(url)
    except (URLError, TimeoutError) as error:
        raise ConfigError(
            f"no Prefect server answers at {url}: {error}",
            "a running server",
            "start it with `prefect server start`, or unset PREFECT_API_URL",
        ) from None
    return f"{prefect.__version__}: server at {url}"


class LocalServer:
    """A Prefect server for this process alone, on a free port of loopback.

    Prefect would start the same one when a flow first needs it, after importing the server into
    this process too. Started here first, it comes up while this process imports other libraries.
    """

    def __init__(self) -> None:
        """Starts the server; `wait` waits for it."""
        self._attempts = 0
        self._start()
        atexit.register(self.stop)

    @property
    def url(self) -> str:
        """Of its API."""
        return f"http://127.0.0.1:{self._port}/api"

    def wait(self) -> None:
        """Returns when the server answers.

        Raises: PrefectNotStarted.
        """
        seconds = float(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
        until = time.monotonic() + seconds
        while True:
            try:
                return _ask(self.url)
            except (URLError, TimeoutError, ConnectionError):
                pass
            code = self._process.poll()
            if code is not None and self._attempts < ATTEMPTS:
                self._start()
            elif code is not None:
                raise _not_started(f"ended with exit code {code}")
            elif time.monotonic() > until:
                raise _not_started(f"did not answer within {seconds:g} s")
            time.sleep(_POLL_S)

    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the server; a second call does nothing."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._attempts += 1
        self._port = _free_port()
        folder = Path(prefect.__file__).parent.parent
        # The command and variables of Prefect's own SubprocessASGIServer.
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--app-dir", str(folder)),
                *("--factory", "prefect.server.api.server:create_app"),
                *("--host", "127.0.0.1", "--port", str(self._port)),
                *("--log-level", "error", "--lifespan", "on"),
            ],
            env={
                **os.environ,
                **get_current_settings().to_environment_variables(exclude_unset=True),
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
            },
        )


_local: LocalServer | None = None


def start_server() -> LocalServer | None:
    """Starts a local server if none is configured, and does not wait for it.

    It serves all later flows of this process and ends with it.
    """
    global _local
    if PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return None
    if _local is None or not _local.is_running():
        _local = LocalServer()
    return _local


@contextmanager
def reporting_to(local: LocalServer | None) -> Iterator[None]:
    """Within it, flows report to the local server, once it answers; to the configured one if None.

    Raises: PrefectNotStarted.
    """
    if local is None:
        yield
        return
    local.wait()
    with temporary_settings({PREFECT_API_URL: local.url}):
        yield


def _ask(url: str) -> None:
    urlopen(f"{url.rstrip('/')}/health", timeout=TIMEOUT_S).close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _not_started(what: str) -> PrefectNotStarted:
    return PrefectNotStarted(
        f"the local Prefect server {what}",
        "a server that answers",
        "run the command again; PREFECT_LOGGING_SERVER_LEVEL=DEBUG shows why it ends, and "
        "PREFECT_API_URL names another server",
    )
