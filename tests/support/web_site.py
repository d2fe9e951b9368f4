"""A site of files on loopback: entity tags, redirects, failures, answers that break off."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.support.loopback_server import Quiet


@dataclass
class Site:
    """What a server has by path, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)  # answered first, one for each request
    cut_short: int = 0  # answers that break off
    num_sent: int = 0  # files sent whole
    num_asked: int = 0
    url: str = ""

    def handler(self, *args: object) -> BaseHTTPRequestHandler:
        """Answers one request."""
        return _Handler(self, *args)


class _Handler(Quiet, BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: object) -> None:
        self._site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """The file, 304 if the caller has it, a redirect or a failure."""
        site, path = self._site, self.path.partition("?")[0]
        site.num_asked += 1
        if site.statuses:
            return self._answer(site.statuses.pop(0))
        if path in site.redirects:
            return self._answer(302, {"Location": site.redirects[path]})
        if path not in site.files:
            return self._answer(404)
        headers = site.headers.get(path, {})
        for asks, has in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
            if has in headers and self.headers.get(asks) == headers[has]:
                return self._answer(304)
        body = site.files[path]
        if site.cut_short:
            site.cut_short -= 1
            return self._answer(200, headers, body[: len(body) // 2], len(body))
        site.num_sent += 1
        return self._answer(200, headers, body)

    def _answer(
        self,
        status: int,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
