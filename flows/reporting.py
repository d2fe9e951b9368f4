"""Where the flows of this process report to: a Prefect server, a record of their own, or nobody."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from mrag_pipeline import extras
from mrag_pipeline.errors import first_line
from mrag_pipeline.flows import engine, run_record
from mrag_pipeline.flows.prefect_server import no_answer, no_server
from mrag_pipeline.quick_imports import quick_imports

SERVER_VARIABLE = "PREFECT_API_URL"
# Others by which Prefect may be told of a server.
_VARIABLES = (
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
    "PREFECT_SERVER_EPHEMERAL_ENABLED",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE",  # the same, as it was called before
)


def reporting() -> AbstractContextManager[None]:
    """Within it, flows report to the configured server; without one, to a record of their own.

    Call it before a module with flows is imported: what they are is decided then. Enter it before
    too: what records a run takes seconds to be there.
    Raises: NotInstalled if a server is configured and Prefect is missing; ConfigError if one has
        to be configured and is not. Within it: ConfigError if the server cannot be reached.
    """
    if not engine.HAS_PREFECT:
        if os.environ.get(SERVER_VARIABLE):
            raise extras.not_installed("prefect", f"reporting to the server of {SERVER_VARIABLE}")
        return nullcontext()
    if engine.are_prefects_own():
        return _answering()
    try:
        if not _is_recorded():
            return _answering()
    except (OSError, RuntimeError) as error:  # no home, or one that cannot be read
        run_record.not_recorded(str(error))
        engine.run_plainly()
        return nullcontext()
    engine.run_plainly()
    return run_record.kept()


@contextmanager
def _answering() -> Iterator[None]:
    """Turns Prefect's errors for a server that cannot be reached into one that says what to do."""
    try:
        yield
    except Exception as error:
        if not _is_unanswered(error):
            raise
        from prefect.settings import PREFECT_API_URL

        raise no_answer(PREFECT_API_URL.value(), first_line(error)) from None


def _is_unanswered(error: Exception) -> bool:
    """Whether it is what Prefect's client raises when it has asked often enough."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    return "httpx.TransportError" in kinds or "Failed to reach API at" in str(error)


def _is_recorded() -> bool:
    """Whether no server is configured.

    Prefect's settings know, but take a second to import; mostly nothing is set anywhere.
    Raises: ConfigError if there is none and Prefect may not start one of its own.
    """
    if os.environ.get(SERVER_VARIABLE):
        return False
    if "prefect" not in sys.modules and not _may_be_set():
        return True
    with quick_imports():
        from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    if PREFECT_API_URL.value():
        return False
    if not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        raise no_server()
    return True


def _may_be_set() -> bool:
    """Whether a variable, or a file that Prefect reads, may name a server."""
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    files = {home / "profiles.toml": "", Path("prefect.toml"): ""}
    files |= {Path(".env"): "PREFECT", Path("pyproject.toml"): "tool.prefect"}
    if any(os.environ.get(name) for name in _VARIABLES):
        return True
    return any(file.is_file() and word in _text(file) for file, word in files.items())


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
