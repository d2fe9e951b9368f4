"""The Prefect server that flows report to: the configured one, or one started for this process.

Prefect itself is imported only after the local server was started: both take the same seconds.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

from mrag_pipeline.errors import ConfigError, TransientError
from mrag_pipeline.quick_imports import quick_imports

log = logging.getLogger(__name__)

TIMEOUT_S = 5
ATTEMPTS = 3  # another process may take the port first
RESTARTS = 5
_POLL_S = 0.05
_STOP_S = 5.0


class PrefectNotStarted(TransientError):
    """The local Prefect server ended, or did not answer in time."""


def describe() -> str:
    """One line for people: Prefect's version, and where its server is.

    Raises: ConfigError if the configured server does not answer.
    """
    import prefect

    url = prefect.settings.PREFECT_API_URL.value()
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
    It is out of reach of the terminal's Ctrl-C, which would end it before the run could report to
    it, and is started again at its address when it dies: Prefect's clients ask for a minute.
    """

    def __init__(self) -> None:
        """Starts the server; `wait` waits for it."""
        self._attempts = 0
        self._stopping = self._is_watched = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - the server writes to it
        self._port = _free_port()
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
        from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

        seconds = float(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
        until = time.monotonic() + seconds
        while True:
            with suppress(URLError, TimeoutError, ConnectionError):
                _ask(self.url)
                if not self._is_watched:
                    self._is_watched = True
                    Thread(target=self._watch, name="local-prefect", daemon=True).start()
                return
            code = self._process.poll()
            if code is not None and self._attempts < ATTEMPTS and not _is_free(self._port):
                self._port = _free_port()
                self._start()
            elif code is not None:
                raise _not_started(f"ended with exit code {code}: {self._last_words()}")
            elif time.monotonic() > until:
                raise _not_started(f"did not answer within {seconds:g} s")
            time.sleep(_POLL_S)

    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the server; a second call does nothing."""
        self._stopping = True
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._attempts += 1
        # With the variables of Prefect's own SubprocessASGIServer.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mrag_pipeline.flows.local_prefect", str(self._port)],
            env={
                **os.environ,
                "PREFECT_UI_ENABLED": "0",
                # Pages of other origins may not read it; Prefect lets all.
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.url.removesuffix("/api"),
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
            },
            stdin=subprocess.PIPE,  # never written to: it ends when this process does
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def _watch(self) -> None:
        for _ in range(RESTARTS):
            code = self._process.wait()
            if self._stopping:
                return
            log.warning("the local Prefect ended (%d) and is started again", code)
            self._start()
            if self._stopping:  # meanwhile, and of this one it did not know
                self._process.kill()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


_local: LocalServer | None = None


def start_server() -> LocalServer | None:
    """Starts a local server if none is configured, and does not wait for it.

    It serves all later flows of this process and ends with it.
    """
    global _local
    if os.environ.get("PREFECT_API_URL"):
        return None
    if "prefect" in sys.modules and not _is_wanted():
        return None
    if _local is None or not _local.is_running():
        _local = LocalServer()
    if not _is_wanted():  # its profile, which Prefect reads when it is imported, names another
        _local.stop()
        return None
    return _local


@contextmanager
def reporting_to(local: LocalServer | None) -> Iterator[None]:
    """Within it, flows report to the local server, once it answers; to the configured one if None.

    Raises: PrefectNotStarted.
    """
    if local is None:
        yield
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    local.wait()
    with temporary_settings({PREFECT_API_URL: local.url}):
        yield


def _is_wanted() -> bool:
    """Whether Prefect's settings name no server and allow one of our own."""
    with quick_imports():
        from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    return bool(not PREFECT_API_URL.value() and PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value())


def _ask(url: str) -> None:
    urlopen(f"{url.rstrip('/')}/health", timeout=TIMEOUT_S).close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _not_started(what: str) -> PrefectNotStarted:
    return PrefectNotStarted(
        f"the local Prefect server {what}",
        "a server that answers",
        "run the command again; PREFECT_LOGGING_SERVER_LEVEL=DEBUG shows why it ends, and "
        "PREFECT_API_URL names another server",
    )
