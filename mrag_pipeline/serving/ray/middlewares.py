"""What each HTTP server of Serve puts around the app: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH."""

from __future__ import annotations

from starlette.middleware import Middleware

from mrag_pipeline.serving.telemetry.request_ids import PlainRequestIds

PATH = f"{__name__}.middlewares"


def middlewares() -> list[Middleware]:
    """Around Serve's own, which answers with the request's id as it came."""
    return [Middleware(PlainRequestIds)]
