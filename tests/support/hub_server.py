"""A stand-in for the Hugging Face hub: the calls by which its own client reads a data set.

It answers as the hub's API does for a public data set whose files are not in Xet: a data set's
commit, its tree in pages, what paths are, and files in ranges.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants, hf_file_system

from tests.support.loopback_server import LoopbackServer, Quiet

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Hub:
    """One data set, its commits from the first to the newest, and what was asked."""

    repository: str
    commits: list[dict[str, bytes]] = field(default_factory=list)  # files by path
    num_bytes_sent: int = 0  # of files
    statuses: list[int] = field(default_factory=list)  # answered first to requests for files
    page_size: int = 2

    def handler(self, *args: object) -> BaseHTTPRequestHandler:
        """Answers one request."""
        return _Handler(self, *args)

    def commit(self, number: int) -> str:
        """The name of a commit."""
        return hashlib.sha1(f"commit {number}".encode(), usedforsecurity=False).hexdigest()

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that a revision names, and its files."""
        names = {self.commit(number): files for number, files in enumerate(self.commits)}
        newest = self.commit(len(self.commits) - 1)
        commit = newest if revision == "main" else revision
        return (commit, names[commit]) if commit in names else None


@contextmanager
def served_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The hub answers; this process's client is pointed at it as HF_ENDPOINT does."""
    with LoopbackServer(hub.handler) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield
    hf_file_system.HfFileSystem.clear_instance_cache()


class _Handler(Quiet, BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *args: object) -> None:
        self._hub = hub
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        """What is asked to see whether the hub answers."""
        self._send(200, b"")

    def do_GET(self) -> None:
        """A data set's commit, a page of its tree, or part of a file."""
        url = urlsplit(self.path)
        path, api = unquote(url.path), f"/api/datasets/{self._hub.repository}"
        if path == api or path.startswith(f"{api}/revision/"):
            found = self._files(path.removeprefix(api).removeprefix("/revision/") or "main")
            if found is not None:
                self._json({"id": self._hub.repository, "sha": found[0], "siblings": []})
        elif path.startswith(f"{api}/tree/"):
            revision, _, folder = path.removeprefix(f"{api}/tree/").partition("/")
            found = self._files(revision)
            if found is not None:
                self._tree(found[1], folder, parse_qs(url.query))
        elif path.startswith(f"/datasets/{self._hub.repository}/resolve/"):
            self._file(path)
        else:
            self._refuse(404, "RepoNotFound")

    def do_POST(self) -> None:
        """What paths are."""
        path = urlsplit(self.path).path
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        found = self._files(path.rpartition("/")[2])
        if found is not None:
            names = [name.strip("/") for name in asked["paths"]]
            listed = [_entry(name, found[1][name]) for name in names if name in found[1]]
            folders = [
                _folder(name)
                for name in names
                if any(path.startswith(f"{name}/") for path in found[1])
            ]
            self._json([*listed, *folders])

    def _files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = self._hub.files(revision)
        if found is None:
            self._refuse(404, "RevisionNotFound")
        return found

    def _tree(self, files: dict[str, bytes], folder: str, options: dict[str, list[str]]) -> None:
        start, is_recursive = int(options.get("cursor", ["0"])[0]), options["recursive"][0]
        prefix = f"{folder}/" if folder else ""
        below = sorted(name for name in files if name.startswith(prefix))
        if folder and not below:
            self._refuse(404, "EntryNotFound")
            return
        parents = (name[: at.start()] for name in below for at in re.finditer("/", name))
        folders = sorted({name for name in parents if name.startswith(prefix)})
        entries = [_folder(name) for name in folders] + [
            _entry(name, files[name]) for name in below
        ]
        if is_recursive.lower() != "true":
            entries = [one for one in entries if "/" not in str(one["path"])[len(prefix) :]]
        stop = start + self._hub.page_size
        here = f"http://{self.headers['Host']}{urlsplit(self.path).path}"
        more = f'<{here}?recursive={is_recursive}&cursor={stop}>; rel="next"'
        self._json(entries[start:stop], {"Link": more} if stop < len(entries) else {})

    def _file(self, path: str) -> None:
        if self._hub.statuses:
            self._refuse(self._hub.statuses.pop(0), "")
            return
        revision, _, name = path.partition("/resolve/")[2].partition("/")
        found = self._files(revision)
        if found is None:
            return
        body = found[1][name]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            start, stop = int(wanted[1]), min(len(body), int(wanted[2] or len(body)) + 1)
            part = body[start:stop]
            headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}
        else:
            part, headers = body, {}
        self._hub.num_bytes_sent += len(part)
        self._send(206 if wanted else 200, part, headers)

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), headers)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _entry(path: str, content: bytes) -> dict[str, object]:
    oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


def _folder(path: str) -> dict[str, object]:
    return {"type": "directory", "path": path, "oid": "0" * 40}
