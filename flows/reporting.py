"""Where the flows of this process report to: a Prefect server, or nobody without Prefect."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from mrag_pipeline import extras
from mrag_pipeline.flows.engine import HAS_PREFECT

SERVER_VARIABLE = "PREFECT_API_URL"


def starts_a_server() -> bool:
    """Whether `reporting` starts a local server, which takes a while."""
    return HAS_PREFECT and not os.environ.get(SERVER_VARIABLE)


def reporting() -> AbstractContextManager[None]:
    """Within it, flows report to the configured server, or to one that this call starts.

    Raises: NotInstalled if a server is configured and Prefect is missing; in the context
        PrefectNotStarted.
    """
    if HAS_PREFECT:
        from mrag_pipeline.flows.prefect_server import reporting_to, start_server

        return reporting_to(start_server())
    if os.environ.get(SERVER_VARIABLE):
        raise extras.not_installed("prefect", f"reporting to the server of {SERVER_VARIABLE}")
    return nullcontext()
