"""The dependency of every guarded route: identifies the caller and applies its rate limits.

Each replica has limits of its own: with n API replicas a key gets up to n times as much.
"""

# No `from __future__ import annotations`: FastAPI reads those of an object's __call__.

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from mrag_pipeline.errors import Forbidden, Unauthorized
from mrag_pipeline.serving.security.body_limit import BodyLimit
from mrag_pipeline.serving.security.host_check import LoopbackHosts, NamedHosts
from mrag_pipeline.serving.security.keys import Keys
from mrag_pipeline.serving.security.rate_limit import Allowance
from mrag_pipeline.serving.security.refusals import PacedRefusals
from mrag_pipeline.serving.security.security_headers import SecurityHeaders
from mrag_pipeline.settings.serve import ServeSpec

LOCAL = "local"  # the caller in logs and metrics on a service without keys

_bearer = HTTPBearer(auto_error=False, description="An API key; a service without keys needs none.")
_header = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    description="The same key, for clients that cannot send a bearer token.",
)


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """The owner of a key."""

    name: str  # "" on a service without keys
    tenant: str | None = None  # whose documents the key is bound to; None: it may name any


class KeyGuard:
    """Admits callers with a key, within their limits; everyone if there are no keys."""

    def __init__(
        self,
        spec: ServeSpec,
        keys: Keys,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Ready to be a dependency: `Depends(guard)`.

        `keys.check_exposure` decides whether the service may listen without keys.
        """
        self._spec = spec
        self._keys = keys
        self._clock = clock
        self._now = now
        self._allowances: dict[str, Allowance] = {}  # by the key's name

    async def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
        header: Annotated[str | None, Security(_header)] = None,
    ) -> AsyncIterator[KeyCaller]:
        """The caller, while the request (including its streamed answer) is under way.

        Raises: Unauthorized, TooManyRequests.
        """
        if not self._keys:
            request.state.caller = LOCAL
            yield KeyCaller("")
            return
        caller = self.identify(bearer.credentials if bearer else header)
        request.state.caller = caller.name
        allowance = self._allowance(caller)
        # The slot first: a request refused for it does not count against the minute.
        with allowance.slot():
            allowance.spend()
            yield caller

    def for_operators(self) -> Callable[[KeyCaller], Awaitable[None]]:
        """A dependency for what names every caller: keys that are bound to a tenant are refused.

        It raises: Forbidden, and what the guard raises.
        """

        async def admit(caller: Annotated[KeyCaller, Depends(self)]) -> None:
            if caller.tenant is not None:
                raise Forbidden(
                    "the key is bound to a tenant, and this names the callers of all tenants",
                    "a key without a tenant",
                    "ask the operator of the service",
                )

        return admit

    def identify(self, secret: str | None) -> KeyCaller:
        """The caller with this secret.

        Raises: Unauthorized, with the same text for a missing and for an unknown key; an expired
            key gets a text of its own.
        """
        key = self._keys.find(secret.strip()) if secret else None
        if key is None:
            raise Unauthorized(
                "no API key, or an unknown one",
                "the header `Authorization: Bearer KEY`, or `X-API-Key: KEY`",
                "ask the operator of the service for a key",
            )
        if key.has_expired(self._now()):
            raise Unauthorized(
                f"the API key of {key.name} has expired",
                "a key that has not expired",
                "ask the operator of the service for a new key",
            )
        return KeyCaller(key.name, key.tenant)

    def spend(self, caller: KeyCaller, cost: int) -> None:
        """Counts further requests against the caller's minute: a batch costs one for each search.

        Raises: TooManyRequests; ConfigError for more than are ever allowed.
        """
        if self._keys and cost > 0:
            self._allowance(caller).spend(cost, before=1)

    def protect(self, app: FastAPI) -> None:
        """Adds the body limit, the security headers and the host check."""
        app.add_middleware(
            BodyLimit, max_bytes=self._spec.max_body_kb * 1024, max_s=self._spec.timeout_s
        )
        if not self._keys:
            app.add_middleware(LoopbackHosts, host=self._spec.host)
        elif self._spec.hosts:
            app.add_middleware(NamedHosts, hosts=self._spec.hosts)
        app.add_middleware(SecurityHeaders)

    def pace(self, app: FastAPI) -> None:
        """Holds refusals back; not on a service without keys, whose callers are of this machine."""
        if self._keys:
            app.add_middleware(PacedRefusals, clock=self._clock)

    def _allowance(self, caller: KeyCaller) -> Allowance:
        if caller.name not in self._allowances:
            spec = self._spec
            self._allowances[caller.name] = Allowance(
                spec.requests_per_minute, spec.concurrent_requests, self._clock
            )
        return self._allowances[caller.name]
