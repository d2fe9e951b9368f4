"""A service whose answers a test scripts; they fit the wire's schemas."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.applications import Starlette

from mrag_pipeline.serving.http import pages
from mrag_pipeline.serving.security.security_headers import SecurityHeaders
from mrag_pipeline.wire.schemas import (
    HeadState,
    IndexState,
    Problem,
    SearchAnswer,
    SearchHit,
    WindowPart,
)

QUERY = "Fetch a file, parse its rows, store them."
# The whole; its three parts.
PARTS = ((0, 41), (0, 12), (14, 28), (30, 40))


def a_window(start: int, end: int, query: str = QUERY, scale: str = "span") -> WindowPart:
    return WindowPart(text=query[start:end], start=start, end=end, scale=scale)


def a_hit(name: str, by_window: list[float], by_voter: list[float], **given: Any) -> SearchHit:
    """A hit whose window is the one that voted most."""
    facts: dict[str, Any] = {
        "chunk_id": "9007199254740993",
        "document_id": f"docs/{name}",
        "ordinal": 2,
        "start": 100,
        "end": 130,
        "title": name.title(),
        "text": f"All about {name}.\n    indented",
        "metadata": {"kind": "function", "year": 2020},
        "vote": sum(by_window),
    }
    return SearchHit(
        window=by_window.index(max(by_window)),
        votes_by_window=by_window,
        votes_by_voter=by_voter,
        **(facts | given),
    )


def an_answer(strategy: str = "aspect", **given: Any) -> SearchAnswer:
    """Ours finds fetch, parse and store; standard finds only fetch, then unrelated documents."""
    facts: dict[str, Any]
    if strategy == "standard":
        facts = {
            "windows": [a_window(0, 41, scale="query")],
            "voters": ["standard"],
            "hits": [a_hit(name, [1.0], [1.0]) for name in ("noise", "fetch")],
        }
    else:
        facts = {
            "windows": [a_window(*span) for span in PARTS],
            "voters": ["l05_h00", "l05_h01", "standard"],
            "hits": [
                a_hit("fetch", [1.0, 3.0, 0.0, 0.0], [2.5, 1.5, 0.0]),
                a_hit("parse", [0.0, 0.0, 2.0, 0.0], [0.0, 1.997, 0.003]),
                a_hit("store", [0.0, 0.0, 0.5, 1.5], [2.0, 0.0, 0.0]),
            ],
        }
    facts |= {
        "version": "v0123456789ab",
        "strategy": strategy,
        "missing_voters": [],
        "seconds": {"encode": 0.02, "search": 0.06, "vote": 0.0002, "total": 0.081},
    }
    return SearchAnswer(**(facts | given))


INDEX = IndexState(
    index="toy",
    version="v0123456789ab",
    created="2026-11-23T00:00:00Z",
    num_documents=1234,
    num_chunks=5678,
    model="tiny",
    heads=[HeadState(name="l05_h00", importance=0.5), HeadState(name="l05_h01", importance=1.25)],
    strategies={
        "aspect": "windows and heads",
        "mrag": "the paper's rule",
        "standard": "ordinary RAG",
        "fusion": "sub-queries joined",
    },
    default_strategy="aspect",
    default_k=8,
    examples=[QUERY, "Hash a tree, zip it."],
)


def a_problem(status: int, headers: dict[str, str] | None = None, **given: Any) -> Response:
    fields: dict[str, Any] = {"title": "Refused", "detail": "why", "status": status} | given
    body = Problem(**fields)
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        status,
        headers,
        media_type="application/problem+json",
    )


def the_events(*events: tuple[str, Any]) -> Iterator[str]:
    """Server-sent events as the service writes them; `hold` waits for its threading.Event."""
    for name, data in events:
        if name == "hold":
            data.wait(60)
        else:
            yield f"event: {name}\ndata: {json.dumps(data)}\n\n"


def an_end(answer: str, numbers: Sequence[int], **given: Any) -> dict[str, Any]:
    """The `done` event of an answer whose prompt had these of `an_answer`'s hits."""
    hits = an_answer().hits
    citations = [{"number": n, "hit": hits[n - 1].model_dump(mode="json")} for n in numbers]
    facts = {"answer": answer, "citations": citations, "unsourced": [], "model": "tiny-chat"}
    return facts | {"prompt_tokens": 12} | given


Reply = Callable[[dict[str, Any]], SearchAnswer | Response]


@dataclass
class Stage:
    """What the service says, and what it was asked."""

    url: str = ""
    index: IndexState = field(default_factory=lambda: INDEX)
    reply: Reply = lambda body: an_answer(body["strategy"])
    # The events of an answer in words, after that of its search.
    words: Sequence[tuple[str, Any]] = ()
    key: str = ""  # needed if there is one
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None)
        app.add_middleware(SecurityHeaders)
        app.include_router(pages.router())

        @app.get("/v1/index")
        async def index(request: Request) -> Response:
            return self._refused(request) or JSONResponse(self.index.model_dump(mode="json"))

        @app.post("/v1/search")
        def search(request: Request, body: dict[str, Any]) -> Response:
            self.asked.append(self._completed(body))
            refused = self._refused(request)
            if refused:
                return refused
            said = self.reply(self.asked[-1])
            if isinstance(said, Response):
                return said
            return JSONResponse(said.model_dump(mode="json"))

        @app.post("/v1/answer")
        def answer(body: dict[str, Any]) -> Response:
            self.asked.append(self._completed(body))
            said = self.reply(self.asked[-1])
            if isinstance(said, Response):
                return said
            search = ("search", said.model_dump(mode="json"))
            return StreamingResponse(
                the_events(search, *self.words), media_type="text/event-stream"
            )

        return app

    def _completed(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body as the service takes it: a page that has no strategy yet names none."""
        return {"strategy": self.index.default_strategy} | body

    def _refused(self, request: Request) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return a_problem(401, title="No valid API key", detail="no API key that is known here")
        return None


@contextmanager
def served(app: Starlette, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """The app's address, while it is served on a free port of this machine."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan=lifespan)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server ended before it began"
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
