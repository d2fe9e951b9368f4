"""A file of the web as a corpus, from real servers on loopback, with and without TLS."""

from __future__ import annotations

import bz2
import gzip
import io
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trustme

from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import (
    ConfigError,
    CorpusError,
    CorpusNotFound,
    FingerprintMismatch,
    MragError,
)
from mrag_pipeline.filesystems import web_file
from mrag_pipeline.filesystems.web_file import WebFile
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.document_files import pdf
from tests.support.loopback_server import LoopbackServer
from tests.support.web_site import Site

ROWS = [{"id": f"{i}", "text": f"Text number {i}."} for i in range(3)]
LINES = "".join(f'{{"id": "{row["id"]}", "text": "{row["text"]}"}}\n' for row in ROWS).encode()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(WebFile._fetch.retry, "sleep", lambda _: None)
    return tmp_path / "cache"


@pytest.fixture
def site() -> Iterator[Site]:
    """A server on loopback, by http."""
    made = Site()
    with LoopbackServer(made.handler) as server:
        made.url = server.endpoint
        yield made


def read(url: str, max_bytes: int = 10**9, **spec: object) -> list[Document | DeadLetter]:
    """Everything at the URL, slice by slice."""
    reader = open_corpus(CorpusSpec(url, **spec))  # type: ignore[arg-type]
    return [item for piece in reader.slices(max_bytes) for item in reader.read([piece])]


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer, row_group_size=1)
    return buffer.getvalue()


def arrow() -> bytes:
    table = pa.Table.from_pylist(ROWS)
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl.gz", gzip.compress(LINES)),
        ("a.jsonl.bz2", bz2.compress(LINES)),
        ("a.json", b"[" + LINES.strip().replace(b"\n", b",") + b"]"),
        ("a.csv", b"id,text\n" + b"".join(b"%d,Text number %d.\n" % (i, i) for i in range(3))),
        ("a.parquet", parquet()),
        ("a.arrow", arrow()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_format_of_records_is_read(site: Site, name: str, body: bytes) -> None:
    """In slices, of one download."""
    site.files[f"/data/{name}"] = body
    documents = read(f"{site.url}/data/{name}?x=1", 30)
    assert [(d.id, d.text) for d in documents if isinstance(d, Document)] == [
        (row["id"], row["text"]) for row in ROWS
    ]
    assert site.num_sent == 1


def test_pages_and_documents_are_named_by_their_file(site: Site) -> None:
    """A web page is one document; a PDF one for each page."""
    site.files["/a%20b.html"] = b"<title>Bees</title><main><p>Bees hum.</p></main>"
    site.headers["/a%20b.html"] = {"Content-Type": "text/html; charset=utf-8"}
    site.files["/guide.pdf"] = pdf(["The first page.", "The second page."])
    [page] = read(f"{site.url}/a%20b.html")
    assert isinstance(page, Document)
    assert (page.id, page.title, page.text) == ("a b.html", "Bees", "Bees hum.")
    ids = [item.id for item in read(f"{site.url}/guide.pdf") if isinstance(item, Document)]
    assert ids == ["guide.pdf#page=1", "guide.pdf#page=2"]


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
def test_a_file_that_has_not_changed_is_not_sent_again(site: Site, validator: str) -> None:
    """Another reader, perhaps of another process, asks only whether it has."""
    site.files["/a.jsonl"] = LINES
    site.headers["/a.jsonl"] = {validator: "1"}
    url = f"{site.url}/a.jsonl"
    before = list(open_corpus(CorpusSpec(url)).slices(10**9))
    assert list(open_corpus(CorpusSpec(url)).slices(10**9)) == before
    assert (site.num_sent, site.num_asked) == (1, 2)
    site.files["/a.jsonl"] = LINES[:-1] + b" \n"
    site.headers["/a.jsonl"] = {validator: "2"}
    assert list(open_corpus(CorpusSpec(url)).slices(10**9)) != before


def test_a_file_without_validators_is_known_by_its_content(site: Site) -> None:
    """It is sent again, and is the same."""
    site.files["/a.jsonl"] = LINES
    url = f"{site.url}/a.jsonl"
    assert len({tuple(open_corpus(CorpusSpec(url)).slices(10**9)) for _ in range(2)}) == 1
    assert site.num_sent == 2


def test_a_file_that_changed_since_the_plan_is_refused(site: Site) -> None:
    """By a reader that comes later; the one that planned reads what it has."""
    site.files["/a.jsonl"] = LINES
    planned = open_corpus(CorpusSpec(f"{site.url}/a.jsonl"))
    pieces = list(planned.slices(10**9))
    site.files["/a.jsonl"] = LINES + LINES
    assert len(list(planned.read(pieces))) == 3
    with pytest.raises(FingerprintMismatch, match="has changed since the run was planned"):
        list(open_corpus(CorpusSpec(f"{site.url}/a.jsonl")).read(pieces))


def test_an_answer_that_breaks_off_is_asked_for_again(site: Site, cache: Path) -> None:
    """Nothing of it is kept; a server that recovers is waited for."""
    site.files["/a.jsonl"] = LINES
    site.statuses, site.cut_short = [503], 1
    assert len(read(f"{site.url}/a.jsonl")) == 3
    assert site.num_asked == 3
    site.cut_short = 3
    with pytest.raises(CorpusError, match="broke off"):
        read(f"{site.url}/a.jsonl")
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 2


def test_a_redirect_is_followed_and_a_loop_is_not(site: Site) -> None:
    """The file keeps the name of the URL that is configured."""
    site.files["/real"] = LINES
    site.redirects = {"/a.jsonl": "/b", "/b": "/real", "/loop.jsonl": "/loop.jsonl"}
    assert len(read(f"{site.url}/a.jsonl")) == 3
    with pytest.raises(CorpusError, match="more than 5 redirects"):
        read(f"{site.url}/loop.jsonl")


def test_no_redirect_leads_inside(site: Site) -> None:
    """Not from a public host to this machine or a private one, nor from https to http."""
    file = WebFile("https://example.org/a.jsonl", "corpus 'x'")
    refused = {
        "https://127.0.0.1/": "an address that is not public",
        "https://169.254.169.254/latest": "an address that is not public",
        "https://[::1]/": "an address that is not public",
        "https://10.0.0.8/": "an address that is not public",
        "http://example.org/a.jsonl": "not to https://",
        "file:///etc/passwd": "not to https://",
    }
    for url, reason in refused.items():
        with pytest.raises(CorpusError, match=reason):
            file._check_redirect(httpx.URL(url))
    site.redirects["/a.jsonl"] = "http://192.0.2.1/a.jsonl"  # a real answer is held to the same
    with pytest.raises(CorpusError, match="not to https://"):
        read(f"{site.url}/a.jsonl")


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (404, CorpusNotFound, "no such file"),
        (403, CorpusError, "wants a login"),
        (418, CorpusError, "answers 418"),
        (500, CorpusError, "answers 500, after several attempts"),
    ],
)
def test_a_refusal_is_one_line(
    site: Site, status: int, kind: type[MragError], message: str
) -> None:
    """With the URL, and without its query."""
    site.statuses = [status] * 3
    with pytest.raises(kind, match=message) as caught:
        read(f"{site.url}/a.jsonl?key=hunter2")
    assert f"{site.url}/a.jsonl" in caught.value.found
    assert "hunter2" not in str(caught.value)


def test_a_web_page_in_the_place_of_data_is_refused(site: Site) -> None:
    """As a login in the place of a file."""
    site.files["/a.jsonl"] = b"<html>Log in</html>"
    site.headers["/a.jsonl"] = {"Content-Type": "text/html"}
    with pytest.raises(CorpusError, match="sends a web page"):
        read(f"{site.url}/a.jsonl")


def test_what_is_too_large_is_refused_before_and_while_it_comes(site: Site, cache: Path) -> None:
    """Also one that grows by decompression; nothing of it is left."""
    site.files["/a.jsonl"] = LINES
    with pytest.raises(CorpusError, match="above the limit"):
        WebFile(f"{site.url}/a.jsonl", "corpus", max_bytes=50).fetched()
    site.files["/bomb.jsonl"] = gzip.compress(b" " * 10_000_000)
    site.headers["/bomb.jsonl"] = {"Content-Encoding": "gzip"}
    with pytest.raises(CorpusError, match="above the limit"):
        WebFile(f"{site.url}/bomb.jsonl", "corpus", max_bytes=100_000).fetched()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_server_that_falls_silent_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that accepts and says nothing, one that is not there, a name that is none: in seconds."""
    monkeypatch.setattr(web_file, "SILENT_S", 0.2)
    started = time.monotonic()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(CorpusError, match="no answer"):
            read(f"http://127.0.0.1:{port}/a.jsonl")
    with pytest.raises(CorpusError, match="no connection"):
        read(f"http://127.0.0.1:{port}/a.jsonl")
    with pytest.raises(CorpusError, match="no connection"):
        read("https://no-such-host.invalid/a.jsonl")
    assert time.monotonic() - started < 15


def test_certificates_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file comes from whom the URL names, by an authority of `SSL_CERT_FILE` too."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    site = Site(files={"/a.jsonl": LINES})
    with ExitStack() as running:
        server = running.enter_context(LoopbackServer(site.handler, context))
        url = server.endpoint.replace("127.0.0.1", "localhost") + "/a.jsonl"
        with pytest.raises(CorpusError, match="CERTIFICATE_VERIFY_FAILED"):
            read(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert len(read(url)) == 3


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/a.jsonl", "anybody on the way can alter"),
        ("https://example.org/data/", "the URL of no file"),
        ("https://example.org/*.jsonl", "the URL of no file"),
        ("https://user:key@example.org/a.jsonl", "credentials"),
    ],
)
def test_what_is_not_a_files_url_is_refused(url: str, message: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(ConfigError, match=message) as caught:
        open_corpus(CorpusSpec(url))
    assert "key" not in caught.value.found


@pytest.mark.parametrize("query", ["X-Amz-Signature=abc", "token=abc"])
def test_a_signed_url_is_refused(query: str) -> None:
    """It is stored with every version, and would end by itself."""
    with pytest.raises(ConfigError, match=r"corpus\.uri contains credentials"):
        Config.parse({"corpus": {"uri": f"https://example.org/a.jsonl?{query}"}})
