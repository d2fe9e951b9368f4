"""The process of a local Prefect server: `python -m mrag_pipeline.flows.local_prefect PORT`."""

from __future__ import annotations

import sys

from mrag_pipeline.quick_imports import quick_imports


def main(port: int) -> None:
    """Serves Prefect's API on loopback until it is told to stop."""
    with quick_imports():
        import uvicorn
        from prefect.server.api.server import create_app
    uvicorn.run(
        create_app, factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
