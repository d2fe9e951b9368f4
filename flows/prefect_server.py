"""The Prefect that flows report to: what `mrag doctor` says of it, and that there is none."""

from __future__ import annotations

from urllib.error import URLError
from urllib.request import urlopen

from mrag_pipeline.errors import ConfigError

TIMEOUT_S = 5


def no_server() -> ConfigError:
    """What a flow cannot run for where Prefect has no server and may not start one."""
    return ConfigError(
        "no Prefect server, and PREFECT_SERVER_EPHEMERAL_ENABLED is off: flows cannot run",
        "the address of a server, or leave to run without one",
        "set PREFECT_API_URL, or unset PREFECT_SERVER_EPHEMERAL_ENABLED",
    )


def no_answer(url: str, reason: object) -> ConfigError:
    """What a flow ends with whose server cannot be reached."""
    return ConfigError(
        f"no Prefect server answers at {url}: {reason}",
        "a running server",
        "start it with `prefect server start`, or unset PREFECT_API_URL; then run the same command "
        "again, finished work is kept",
    )


def describe() -> str:
    """One line for people: Prefect's version, and where its server is.

    Raises: ConfigError if the configured server does not answer, or if there can be none.
    """
    import prefect

    url = prefect.settings.PREFECT_API_URL.value()
    if not url and not prefect.settings.PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        raise no_server()
    if not url:
        return f"{prefect.__version__}: no server; runs are recorded in its local database"
    try:
        urlopen(f"{url.rstrip('/')}/health", timeout=TIMEOUT_S).close()
    except (URLError, TimeoutError) as error:
        raise no_answer(url, error) from None
    return f"{prefect.__version__}: server at {url}"
