"""The process of a local Prefect server: `python -m mrag_pipeline.flows.local_prefect PORT`.

It ends with the process that started it, however that ends: standard input is a pipe from there.
"""

from __future__ import annotations

import os
import signal
import sys
from threading import Thread

from mrag_pipeline.quick_imports import quick_imports

HOST = "127.0.0.1"


def main(port: int) -> None:
    """Serves Prefect's API on loopback until it is told to stop, or standard input ends."""
    Thread(target=_end_with_parent, name="parent", daemon=True).start()
    with quick_imports():
        import uvicorn
        from prefect.server.api.server import create_app
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    # A page of any name that a browser is led to believe is at 127.0.0.1 is refused by its Host.
    app = TrustedHostMiddleware(create_app(), allowed_hosts=[HOST])
    uvicorn.run(app, host=HOST, port=port, log_level="error", lifespan="on")


def _end_with_parent() -> None:
    # Nothing is ever sent. Not by sys.stdin: its lock, held here, would abort an end by an error.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)  # what it keeps is a transaction's matter


if __name__ == "__main__":
    main(int(sys.argv[1]))
