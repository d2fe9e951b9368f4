"""Who calls, and how often they may: the dependency that every guarded route has.

Limits are each replica's own: with n API replicas a key gets up to n times as much.
"""

# No `from __future__ import annotations`: FastAPI reads those of an object's __call__.

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import FastAPI, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from mrag_pipeline.errors import Unauthorized
from mrag_pipeline.serving.security.body_limit import BodyLimit
from mrag_pipeline.serving.security.host_check import LoopbackHosts
from mrag_pipeline.serving.security.keys import Keys
from mrag_pipeline.serving.security.rate_limit import Allowance
from mrag_pipeline.serving.security.security_headers import SecurityHeaders
from mrag_pipeline.settings.serve import ServeSpec

LOCAL = "local"  # the caller where no keys are needed

_bearer = HTTPBearer(
    auto_error=False, description="An API key; not needed by a service without keys."
)
_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The same, for those who cannot send a token."
)


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """Who asks."""

    name: str
    tenant: str | None = None  # whose documents the key is bound to; None: it may name any


class KeyGuard:
    """Lets callers with a key through, within their limits; everyone where there are no keys."""

    def __init__(
        self,
        spec: ServeSpec,
        keys: Keys,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Ready to be a dependency: `Depends(guard)`.

        Whether the service may listen without keys is `keys.check_exposure`'s question.
        """
        self._spec = spec
        self._keys = keys
        self._clock = clock
        self._now = now
        self._allowances: dict[str, Allowance] = {}  # by caller's name: one for each key's name

    async def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
        header: Annotated[str | None, Security(_header)] = None,
    ) -> AsyncIterator[KeyCaller]:
        """The caller, while the request (its streamed answer too) is under way.

        Raises: Unauthorized, TooManyRequests.
        """
        if not self._keys:
            request.state.caller = LOCAL
            yield KeyCaller(LOCAL)
            return
        caller = self.identify(bearer.credentials if bearer else header)
        request.state.caller = caller.name
        allowance = self._allowance(caller)
        # The slot first: a request that is turned away for it costs nothing of the minute's.
        with allowance.slot():
            allowance.spend()
            yield caller

    def identify(self, secret: str | None) -> KeyCaller:
        """Whose secret it is.

        Raises: Unauthorized, the same for a missing key and for one nobody knows; a key that was
            right once is told that it has expired.
        """
        key = self._keys.find(secret.strip()) if secret else None
        if key is None:
            raise Unauthorized(
                "no API key, or one that is not known here",
                "the header `Authorization: Bearer KEY`, or `X-API-Key: KEY`",
                "ask whoever runs the service for a key",
            )
        if key.has_expired(self._now()):
            raise Unauthorized(
                f"the API key of {key.name} has expired",
                "a key that still holds",
                "ask whoever runs the service for a new key",
            )
        return KeyCaller(key.name, key.tenant)

    def spend(self, caller: KeyCaller, cost: int) -> None:
        """Counts more requests against the caller's minute: a batch is as many as it holds.

        Raises: TooManyRequests; ConfigError if so many can never be let through.
        """
        if self._keys and cost > 0:
            self._allowance(caller).spend(cost, before=1)

    def protect(self, app: FastAPI) -> None:
        """Puts the body limit, the security headers and, without keys, the host check around it."""
        app.add_middleware(BodyLimit, max_bytes=self._spec.max_body_kb * 1024)
        if not self._keys:
            app.add_middleware(LoopbackHosts, host=self._spec.host)
        app.add_middleware(SecurityHeaders)

    def _allowance(self, caller: KeyCaller) -> Allowance:
        if caller.name not in self._allowances:
            spec = self._spec
            self._allowances[caller.name] = Allowance(
                spec.requests_per_minute, spec.concurrent_requests, self._clock
            )
        return self._allowances[caller.name]
