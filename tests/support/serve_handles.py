"""Deployment handles without Ray: their methods call an object of this process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from typing import Any

from ray.serve.exceptions import BackPressureError


class FakeResponse:
    """What a handle's method returns: it is awaited or cancelled."""

    def __init__(self, work: Callable[[], Any], wait_s: float) -> None:
        self.cancelled = False

        async def run() -> Any:
            await asyncio.sleep(wait_s)
            outcome = work()
            return await outcome if inspect.isawaitable(outcome) else outcome

        self._task = asyncio.ensure_future(run())

    def __await__(self) -> Generator[Any, None, Any]:
        # Ray does not cancel a call because its caller stops waiting.
        return (yield from asyncio.shield(self._task).__await__())

    def done(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        self.cancelled = True
        self._task.cancel()


class FakeMethod:
    """One method of a handle; its next outcomes can be scripted: an error, or seconds to wait."""

    def __init__(self, work: Callable[..., Any], max_calls: int = 1_000) -> None:
        self.work = work
        self.script: list[Exception | float] = []
        self.responses: list[FakeResponse] = []
        self._max_calls = max_calls

    def remote(self, *args: Any) -> FakeResponse:
        step = self.script.pop(0) if self.script else 0.0
        num_calls = sum(not response.done() for response in self.responses)

        def run() -> Any:
            if isinstance(step, Exception):
                raise step
            if num_calls >= self._max_calls:
                raise BackPressureError(num_calls, self._max_calls)
            return self.work(*args)

        response = FakeResponse(run, step if isinstance(step, float) else 0.0)
        self.responses.append(response)
        return response


class FakeHandle:
    """A deployment handle to an object: `handle.method.remote(...)` calls its method."""

    def __init__(self, part: object, max_calls: int = 1_000) -> None:
        self._part = part
        self._max_calls = max_calls
        self._methods: dict[str, FakeMethod] = {}

    def __getattr__(self, name: str) -> FakeMethod:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._methods:
            self._methods[name] = FakeMethod(getattr(self._part, name), self._max_calls)
        return self._methods[name]
