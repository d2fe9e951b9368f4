"""An HTTP server in the place of a chat model, on loopback; its answers are scripted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.loopback_server import LoopbackServer, Quiet

Turn = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def a_chat_server(*turns: Turn) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The server's URL and the requests it got; it answers by the turns, repeating the last."""
    requests: list[dict[str, Any]] = []

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            turns[min(len(requests), len(turns)) - 1](self)

    with LoopbackServer(Handler) as server:
        yield f"{server.endpoint}/v1", requests


def a_chunk(text: str | None, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}}
    return f"data: {json.dumps({'choices': [choice | {'finish_reason': reason}]})}\n\n".encode()


def streaming(*parts: bytes, pause_s: float = 0.0) -> Turn:
    """Sends the parts as an event stream, then closes."""

    def turn(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(pause_s)

    return turn


def plain(status: int, answer: Any) -> Turn:
    """Sends one JSON answer."""

    def turn(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.wfile.write(json.dumps(answer).encode())

    return turn


def completion(text: str) -> dict[str, Any]:
    """A complete answer in the form of OpenAI's chat completions."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


DONE = b"data: [DONE]\n\n"
ANSWER = streaming(a_chunk(None), a_chunk("Bees "), a_chunk("hum."), a_chunk(None, "stop"), DONE)
