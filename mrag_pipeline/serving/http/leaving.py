"""A service that is about to stop: `/readyz` says so while questions are still answered."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from mrag_pipeline.errors import NotReady
from mrag_pipeline.serving.http.problems import RETRY_AFTER_S, problem_of, request_id_of, respond

READY = "/readyz"


class Leaving:
    """Passes requests on; from `leave` on, `/readyz` answers 503, so that nothing new is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._is_leaving = False

    def leave(self) -> None:
        """The service is about to stop."""
        self._is_leaving = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers `/readyz` itself while the service is leaving."""
        if self._is_leaving and scope["type"] == "http" and scope["path"] == READY:
            error = NotReady("the service is about to stop", "another instance of the service")
            problem = problem_of(error, request_id_of(scope))  # no fault: it is not logged
            headers = {"Retry-After": f"{RETRY_AFTER_S:.0f}"}
            await respond(problem, headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)
