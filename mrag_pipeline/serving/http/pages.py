"""The page at `/`, `/documents`, the API's description at `/docs`: no build step, no CDN.

Serves the files that are in `serving/static` when the router is made, from memory: a path from a
request never reaches the disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, HTTPException, Request, Response

# Other files in the folder (an editor's backup, a map) are not served.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it goes over the wire."""

    body: bytes
    media_type: str
    etag: str  # a hash of the content: the same on every replica


def static_files() -> dict[str, StaticFile]:
    """Every file of `serving/static` that a browser may request, by name."""
    files: dict[str, StaticFile] = {}
    for entry in resources.files("mrag_pipeline.serving").joinpath("static").iterdir():
        media_type = MEDIA_TYPES.get("." + entry.name.rpartition(".")[2])
        if media_type and entry.is_file():
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            files[entry.name] = StaticFile(body, media_type, etag)
    return files


def router() -> APIRouter:
    """Serves the page, the API's description and their files; none is in the OpenAPI document."""
    files = static_files()
    pages = APIRouter(include_in_schema=False)

    @pages.api_route("/", methods=["GET", "HEAD"])
    async def search_page(request: Request) -> Response:
        return _respond(files["index.html"], request)

    @pages.api_route("/documents", methods=["GET", "HEAD"])
    async def documents_page(request: Request) -> Response:
        return _respond(files["documents.html"], request)

    @pages.api_route("/docs", methods=["GET", "HEAD"])
    async def api_page(request: Request) -> Response:
        return _respond(files["docs.html"], request)

    @pages.api_route("/static/{name}", methods=["GET", "HEAD"])
    async def static_file(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404, "no such file")
        return _respond(files[name], request)

    return pages


def _respond(file: StaticFile, request: Request) -> Response:
    """The file, or 304 if the browser has it already."""
    # Revalidated each time: a browser must not run an old script against a new API.
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    held = request.headers.get("if-none-match", "")
    if held.strip() == "*" or file.etag in (
        tag.strip().removeprefix("W/") for tag in held.split(",")
    ):
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)
