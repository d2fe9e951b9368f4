"""The page's files over HTTP, without a browser."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from mrag_pipeline.serving.http import pages


@pytest.fixture
def client() -> TestClient:
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(pages.router())
    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/static/page.js", "text/javascript; charset=utf-8"),
        ("/static/page.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
    ],
)
def test_a_file_is_sent_once_and_then_confirmed(
    client: TestClient, path: str, media_type: str
) -> None:
    """Its ETag is a hash of its content; a matching request gets 304 without a body."""
    first = client.get(path)
    assert first.status_code == 200
    assert first.headers["content-type"] == media_type
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for held in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(path, headers={"If-None-Match": held})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head(path).headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/none.js",
        "/static/../pages.py",
        "/static/..%2fpages.py",
        "/static/%2e%2e/schemas.py",
        "/static/....//pages.py",
        "/static//etc/passwd",
        "/static/page.js%00",
    ],
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    """No path leads out of the folder, or to a file that is not the page's."""
    assert client.get(path).status_code == 404


def test_the_files_need_nothing_from_elsewhere() -> None:
    """No inline script or style, and no address but links for people: the policy forbids them."""
    folder = resources.files("mrag_pipeline.serving").joinpath("static")
    for name in pages.static_files():
        text = folder.joinpath(name).read_text("utf-8")
        if name.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), name
            assert re.findall(r'(?:src|href)="(\w+:[^"]*)"', text) in (
                [],
                ["https://arxiv.org/abs/2406.05085"],
            )
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
            assert not re.search(r"https?://", text), name
        if name.endswith(".css"):
            assert not re.search(r"@import|url\(", text), name


def test_every_file_that_is_named_is_there() -> None:
    """Modules, sheets and icons that a page or a module loads are all in the folder."""
    files = pages.static_files()
    for name, file in files.items():
        text = file.body.decode()
        named = re.findall(r'(?:src|href)="static/([^"]+)"|from "\./([^"]+)"', text)
        for one in named:
            assert "".join(one) in files, (name, one)
