"""An HTTP server in the place of a reranker, on loopback, in each of the three forms.

It checks requests as the real servers do (required keys, text-embeddings-inference's largest
batch) and scores as the fake reranker does; a test may script its replies instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.fake_reranker import relevance
from tests.support.loopback_server import LoopbackServer, Quiet

MAX_BATCH = 32  # of text-embeddings-inference, unless --max-client-batch-size says otherwise
KEY = "a-secret-key"


@dataclass
class Asked:
    """One request that the server got."""

    path: str
    key: str | None
    body: dict[str, Any]


Turn = Callable[[BaseHTTPRequestHandler, Asked], None]


@contextmanager
def a_rerank_server(*turns: Turn) -> Iterator[tuple[str, list[Asked]]]:
    """The server's URL and the requests it got; it answers by the turns, repeating the last."""
    requests: list[Asked] = []

    class Handler(Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as real servers keep them

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, self.headers.get("Authorization"), body)
            requests.append(asked)
            turns[min(len(requests), len(turns)) - 1](self, asked)

    with LoopbackServer(Handler) as server:
        yield server.endpoint, requests


def reply(status: int, content: Any, kind: str = "application/json", **headers: str) -> Turn:
    """Sends this content: bytes as they are, anything else as JSON."""

    def turn(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return turn


def as_documented(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    """Replies in the form that the request's path names, best first, as the real servers do."""
    status, content = _answer(asked)
    reply(status, content)(handler, asked)


def _answer(asked: Asked) -> tuple[int, Any]:
    body = asked.body
    texts_key = "texts" if asked.path == "/rerank" else "documents"
    scores = [relevance(body["query"], text) for text in body[texts_key]]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    if asked.path == "/rerank":
        if set(body) - {"query", "texts", "raw_scores", "return_text", "truncate"}:
            return 422, {"error": "unknown field", "error_type": "Validation"}
        if len(scores) > MAX_BATCH:
            message = f"batch size {len(scores)} > maximum allowed batch size {MAX_BATCH}"
            return 422, {"error": message, "error_type": "Validation"}
        return 200, [{"index": index, "score": scores[index]} for index in order]
    results = [
        {"index": index, "relevance_score": scores[index]} for index in order[: body["top_n"]]
    ]
    if asked.path == "/v2/rerank":
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return 200, {"id": "07734bd2", "results": results, "meta": meta} | _model_of(body)
    assert asked.path == "/v1/rerank", asked.path
    return 200, {"usage": {"total_tokens": 7}, "results": results} | _model_of(body)


def _model_of(body: dict[str, Any]) -> dict[str, Any]:
    return {"model": body["model"]} if body["model"] else {}
