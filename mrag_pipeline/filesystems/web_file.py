"""A file of the web: fetched once for a machine, and again only when the server has another one.

`https://` from anywhere, `http://` from this machine alone: what could be altered on its way is not
read. The server is asked once by each reader, with the `ETag` and `Last-Modified` of what is here
already; the file's own hash says whether it is the same. So all slices of a run are cut from the
same bytes, and a format may seek in them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound, StorageFull
from mrag_pipeline.filesystems.web_cache import Fetched, Kept, kept_in, new_folder, remember

WEB = re.compile(r"https?://", re.IGNORECASE)
CONNECT_S = 5.0
SILENT_S = 20.0  # without a byte
TOTAL_S = 3_600.0
MAX_BYTES = 20_000_000_000
MAX_REDIRECTS = 5
_PAGES = (".html", ".htm", ".xhtml")
_COMPRESSED = (".gz", ".bz2", ".zst")
_DOWNLOAD = "download it (`curl -O`), and give the path"


class _TryAgain(Exception):
    """The server or the way to it failed for now."""


class WebFile:
    """The file at a URL; nothing is asked before `fetched`."""

    def __init__(self, url: str, what: str, max_bytes: int = MAX_BYTES) -> None:
        """Checks the URL.

        Args:
            what: the setting and its value without secrets, for error messages.
        Raises: ConfigError.
        """
        self._url = url
        self._what = what
        self._max_bytes = max_bytes
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self.name = unquote(parts.path).rpartition("/")[2].replace("\x00", "")
        if not self._host or self.name in ("", ".", "..") or "*" in parts.path:
            raise ConfigError(
                f"{what}: the URL of no file",
                "one file, such as https://host/data.jsonl: the web lists no folders",
                "name a file; several are several [[corpus]]",
            )
        if "@" in parts.netloc:
            raise ConfigError(
                f"{what}: credentials in the URL",
                "a URL without them: it is stored and shown",
                _DOWNLOAD,
            )
        if parts.scheme.lower() == "http" and not _is_loopback(self._host):
            raise ConfigError(
                f"{what}: http://, which anybody on the way can alter",
                "https://, or http:// of this machine",
                f"write https://, or {_DOWNLOAD}",
            )

    def fetched(self) -> Fetched:
        """The file as it was when this reader first asked for it.

        Raises: CorpusNotFound (404, 410), CorpusError, StorageFull.
        """
        found = self._found
        os.utime(found.path)  # it is in use
        return found

    @cached_property
    def _found(self) -> Fetched:
        try:
            folder = new_folder(self._url)
            return self._fetch(folder)
        except _TryAgain as error:
            raise self._failure(f"{error}, after several attempts") from None
        except httpx.ConnectTimeout:
            raise self._failure(f"no connection within {CONNECT_S:g} s") from None
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise self._failure(f"no connection: {error}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failure(f"{type(error).__name__}: {error}") from None
        except OSError as error:
            raise StorageFull(
                f"{self._what}: it cannot be stored: {error}",
                "a folder with room for the file",
                "make room, or let XDG_CACHE_HOME name another disk",
            ) from None

    @retry(
        retry=retry_if_exception_type(_TryAgain),
        stop=stop_after_attempt(3),
        wait=wait_exponential(0.5),
        reraise=True,
    )
    def _fetch(self, folder: Path) -> Fetched:
        kept = kept_in(folder)
        headers = {"Accept-Encoding": "identity", **(kept.conditions if kept else {})}
        timeout = httpx.Timeout(SILENT_S, connect=CONNECT_S)
        deadline = time.monotonic() + TOTAL_S
        with (
            httpx.Client(timeout=timeout) as client,
            self._answer(client, headers) as response,
        ):
            if kept is not None and response.status_code == HTTPStatus.NOT_MODIFIED:
                return kept.file
            self._check(response)
            try:
                found = self._stored(response, folder, deadline)
            except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError) as error:
                raise _TryAgain(f"it broke off ({type(error).__name__})") from None
            etag, modified = (response.headers.get(one, "") for one in ("ETag", "Last-Modified"))
            remember(folder, Kept(found, etag, modified))
            return found

    @contextmanager
    def _answer(self, client: httpx.Client, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The answer after at most MAX_REDIRECTS redirects, none of which leads inside."""
        request = client.build_request("GET", self._url, headers=headers)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = client.send(request, stream=True)
            except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError) as error:
                raise _TryAgain(f"no answer ({type(error).__name__})") from None
            if response.next_request is None:
                try:
                    yield response
                finally:
                    response.close()
                return
            response.close()
            request = response.next_request
            self._check_redirect(request.url)
        raise self._failure(f"more than {MAX_REDIRECTS} redirects")

    def _check_redirect(self, url: httpx.URL) -> None:
        if _is_loopback(self._host) and _is_loopback(url.host):
            return
        if url.scheme != "https":
            raise self._failure(f"it is redirected to {url.scheme}://{url.host}, not to https://")
        if url.host != self._host and _is_inside(url.host) and not _is_inside(self._host):
            raise self._failure(f"it is redirected to {url.host}, an address that is not public")

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise CorpusNotFound(
                f"{self._what}: the server has no such file ({status})", "", "check the URL"
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _TryAgain(f"the server answers {status}")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise self._failure(f"the server wants a login ({status})", _DOWNLOAD)
        if status != HTTPStatus.OK:
            raise self._failure(f"the server answers {status}")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        suffix = os.path.splitext(self.name)[1].lower()
        if kind == "text/html" and suffix and suffix not in _PAGES:
            raise self._failure(
                "the server sends a web page, perhaps a login or an error",
                "open the URL in a browser; " + _DOWNLOAD,
            )
        size = int(response.headers.get("Content-Length", "0"))
        if size > self._max_bytes:
            raise self._too_large(size)

    def _stored(self, response: httpx.Response, folder: Path, deadline: float) -> Fetched:
        """The body in the folder, named by its hash: complete, or not there."""
        # Of `a.jsonl.gz` the compression is the file's own, whatever the server calls it.
        is_raw = self.name.lower().endswith(_COMPRESSED)
        digest, num_bytes = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            try:
                for block in response.iter_raw() if is_raw else response.iter_bytes():
                    num_bytes += len(block)
                    if num_bytes > self._max_bytes:
                        raise self._too_large(num_bytes)
                    if time.monotonic() > deadline:
                        raise self._failure(f"it took longer than {TOTAL_S:,.0f} s", _DOWNLOAD)
                    digest.update(block)
                    file.write(block)
                file.close()
                path = folder / digest.hexdigest()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
        return Fetched(str(path), num_bytes, digest.hexdigest())

    def _too_large(self, num_bytes: int) -> CorpusError:
        limit = f"the limit of {self._max_bytes / 1e6:,.1f} MB"
        return self._failure(f"{num_bytes / 1e6:,.1f} MB or more, above {limit}", _DOWNLOAD)

    def _failure(self, found: str, fix: str = "check the URL and the network") -> CorpusError:
        return CorpusError(f"{self._what}: {found}", "a file that the server sends", fix)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_inside(host: str) -> bool:
    """Whether a name leads to an address that is not public; False if it cannot be resolved."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(not ipaddress.ip_address(str(one).partition("%")[0]).is_global for one in addresses)
