"""Staging and corpora on a real S3 server: requests, folders, failures and messages."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.errors import (
    ConfigError,
    CorpusError,
    CorpusNotFound,
    EmptyCorpus,
    FingerprintMismatch,
    StagingError,
)
from mrag_pipeline.filesystems.location import open_place
from mrag_pipeline.ports import Mark
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.deltas import open_delta
from mrag_pipeline.staging.shards import open_staging
from tests.support.fake_staging import PLAN, a_manifest, an_output
from tests.support.s3_listing import Listing
from tests.support.s3_proxy import Asked, Proxy
from tests.support.s3_server import SECRET, Server, environment, exported, proxied, s3_server

PART = 10 * 1024 * 1024  # pyarrow's


@pytest.fixture
def proxy(s3: Server, bucket: str) -> Iterator[Proxy]:
    """A proxy of the server, set as the endpoint in the environment."""
    with proxied(s3) as made, exported(environment(made.endpoint)):
        yield made


def put(s3: Server, path: str, content: bytes = b'{"id": "a", "text": "x"}\n') -> None:
    with s3.client().open_output_stream(path, compression=None) as stream:
        stream.write(content)


def listed(uri: str, **spec: object) -> list[str]:
    reader = open_corpus(CorpusSpec(uri, **spec))  # type: ignore[arg-type]
    return [piece.path for piece in reader.slices(10**9)]


# ------------------------------------------------------------------ requests
def test_a_small_file_is_one_put(proxy: Proxy, bucket: str) -> None:
    """One request stores a receipt whole; nothing is copied or renamed."""
    Folder(f"s3://{bucket}/staging").write("shards/00000/receipt.json", b"{}")
    (asked,) = proxy.asked
    assert (asked.method, asked.path.partition("?")[0]) == (
        "PUT",
        f"/{bucket}/staging/shards/00000/receipt.json",
    )


def test_a_shard_costs_a_put_for_each_file_and_its_receipt_last(proxy: Proxy, bucket: str) -> None:
    """Each file is written once, before the receipt."""
    staging = open_staging(StagingSpec(uri=f"s3://{bucket}/staging"), "docs", "vaaaaaaaaaaaa")
    staging.write_manifest(a_manifest())
    proxy.forget()
    receipt = staging.write_shard(an_output(), PLAN)
    written = [one.path for one in proxy.asked if one.method != "GET" and one.method != "HEAD"]
    assert proxy.count("POST", "DELETE") == 0
    assert len(written) == len(receipt.files) + 1
    assert written[-1].endswith("/receipt.json")


def test_receipts_are_read_in_parallel(proxy: Proxy, bucket: str) -> None:
    """Resuming thousands of shards waits for a sixteenth of the round trips."""
    staging = open_staging(StagingSpec(uri=f"s3://{bucket}/staging"), "docs", "vaaaaaaaaaaaa")
    proxy.forget()
    proxy.delay_s = 0.2
    assert list(staging.receipts(range(32), PLAN)) == [None] * 32
    assert proxy.count() == 32
    assert proxy.most_at_once >= 8


def test_a_large_file_goes_in_parts_and_is_read_back(proxy: Proxy, bucket: str) -> None:
    """Above a part's size: several uploads, one object, the same bytes."""
    content = os.urandom(2 * PART + 12_345)
    folder = Folder(f"s3://{bucket}/staging")
    folder.write("large.parquet", content)
    parts = [one for one in proxy.asked if "partNumber=" in one.path]
    assert len(parts) == 3
    assert folder.sizes("") == {"large.parquet": len(content)}
    found = folder.read("large.parquet")
    assert found is not None
    assert found.to_pybytes() == content


def test_removing_a_folder_leaves_nothing_not_even_a_marker(
    s3: Server, proxy: Proxy, bucket: str
) -> None:
    """Everything below the name is removed, page by page; names that only begin alike stay."""
    folder = Folder(f"s3://{bucket}/staging")
    for name in ("v1/a", "v1/b/c", "v1", "v1x/d", "v2/e"):
        folder.write(name, b"x")
    proxy.forget()
    folder.remove("v1")
    assert proxy.count("PUT") == 0
    assert s3.objects(bucket) == {"staging/v1x/d": 1, "staging/v2/e": 1}
    folder.remove("v1")
    folder.remove("")
    assert s3.objects(bucket) == {}


def test_a_files_time_is_known(bucket: str) -> None:
    """Dead letters are listed by the time of their run."""
    folder = Folder(f"s3://{bucket}/staging")
    folder.write("a", b"x")
    assert time.time() - 60 < folder.modified("")["a"] < time.time() + 60


def test_a_syncs_files_are_stored_and_removed(s3: Server, bucket: str) -> None:
    """Documents are read back unchanged; discarding and finishing leave no object."""
    spec = StagingSpec(uri=f"s3://{bucket}/staging")
    delta = open_delta(spec, "docs", "vaaaaaaaaaaaa", 1)
    documents = [Document(f"d{i}", f"text {i}", metadata={"year": 1900 + i}) for i in range(3)]
    piece = delta.write_documents(documents)
    delta.write_removed([[Mark(7, "d9", "print")]])
    again = open_delta(spec, "docs", "vaaaaaaaaaaaa", 1)
    assert list(again.reader().read([piece])) == documents
    assert list(again.removed()) == [[Mark(7, "d9", "print")]]
    again.discard()
    assert list(s3.objects(bucket)) == [f"staging/docs/vaaaaaaaaaaaa/syncs/00001/{piece.path}"]
    again.finish()
    assert s3.objects(bucket) == {}


# ------------------------------------------------------------------ a corpus
def test_a_bucket_is_read_like_a_folder(s3: Server, bucket: str) -> None:
    """Sorted paths whatever the server's order, hidden files and markers left out, globs."""
    names = ["a/z", "a.b/x", "a!/y", "b", "é", ".hidden", "a/.h/x", "a/y/1"]
    for name in names:
        put(s3, f"{bucket}/docs/{name}.jsonl")
    put(s3, f"{bucket}/docs/README.md")
    put(s3, f"{bucket}/docs2/other.jsonl")
    s3.client().create_dir(f"{bucket}/docs/empty")
    expected = [f"{n}.jsonl" for n in ("a!/y", "a.b/x", "a/y/1", "a/z", "b", "é")]
    assert listed(f"s3://{bucket}/docs") == listed(f"s3://{bucket}/docs/") == expected
    assert listed(f"s3://{bucket}/docs/a/**/*.jsonl") == ["y/1.jsonl", "z.jsonl"]
    assert listed(f"s3://{bucket}/docs/a*/*.jsonl") == ["a!/y.jsonl", "a.b/x.jsonl", "a/z.jsonl"]
    assert listed(f"s3://{bucket}/docs/b.jsonl") == ["b.jsonl"]
    assert listed(f"s3://{bucket}", include=("docs2/*",)) == ["docs2/other.jsonl"]
    line = open_corpus(CorpusSpec(f"s3://{bucket}/docs")).describe()
    assert f"6 file(s), 0.0 MB in s3://{bucket}/docs, 1 other file(s) ignored" in line


def test_a_pattern_lists_only_keys_with_its_prefix(s3: Server, proxy: Proxy, bucket: str) -> None:
    """One day's files are found without listing those of other years."""
    put(s3, f"{bucket}/docs/2026-01-01.jsonl")
    put(s3, f"{bucket}/docs/2025-01-01.jsonl")
    assert listed(f"s3://{bucket}/docs/2026-*.jsonl") == ["2026-01-01.jsonl"]
    pages = [one.path for one in proxy.asked if "list-type=2" in one.path]
    assert any("prefix=docs%2F2026-" in path for path in pages)
    assert not any("prefix=docs%2F&" in path and "max-keys=1&" not in path for path in pages)


def test_a_corpus_file_is_identified_by_its_content(s3: Server, bucket: str) -> None:
    """The same bytes written again give the same plan; other bytes of that size do not."""
    put(s3, f"{bucket}/docs/a.jsonl")
    uri = f"s3://{bucket}/docs"
    slices = list(open_corpus(CorpusSpec(uri)).slices(10**9))
    time.sleep(1.1)  # a server's time is of whole seconds
    put(s3, f"{bucket}/docs/a.jsonl")
    assert list(open_corpus(CorpusSpec(uri)).slices(10**9)) == slices
    (found,) = open_corpus(CorpusSpec(uri)).read(slices)
    assert found == Document("a", "x", source="a.jsonl, byte 0")
    put(s3, f"{bucket}/docs/a.jsonl", b'{"id": "a", "text": "y"}\n')
    with pytest.raises(FingerprintMismatch, match="has changed"):
        list(open_corpus(CorpusSpec(uri)).read(slices))


def test_each_missing_thing_has_its_own_error(bucket: str) -> None:
    """A missing folder, pattern and bucket, and an empty corpus."""
    with pytest.raises(CorpusNotFound, match="no such file or folder"):
        listed(f"s3://{bucket}/docs")
    with pytest.raises(CorpusNotFound, match=r"no file matches \*\.csv"):
        listed(f"s3://{bucket}/*.csv")
    with pytest.raises(CorpusError, match="has no bucket 'no-such-bucket'"):
        listed("s3://no-such-bucket/docs")
    with pytest.raises(StagingError, match="has no bucket 'no-such-bucket'") as caught:
        Folder("s3://no-such-bucket/staging").write("a", b"x")
    assert caught.value.fix == "create the bucket, or correct the URI"
    with pytest.raises(EmptyCorpus):
        listed(f"s3://{bucket}", format="jsonl")


@pytest.mark.slow
def test_more_keys_than_a_page_are_listed_and_removed(s3: Server, bucket: str) -> None:
    """2,300 keys come in three pages, once each."""
    from concurrent.futures import ThreadPoolExecutor

    client = s3.client()

    def one(number: int) -> None:
        with client.open_output_stream(f"{bucket}/docs/{number:05d}.jsonl") as stream:
            stream.write(b"{}")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(one, range(2_300)))
    objects = open_place(f"s3://{bucket}/docs", "corpus").objects
    assert objects is not None
    assert [found.key for found in objects.starting_with("docs/")] == [
        f"docs/{number:05d}.jsonl" for number in range(2_300)
    ]
    objects.remove("docs")
    assert s3.objects(bucket) == {}


PLANNED = """
import resource, sys
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.settings.corpus import CorpusSpec

pieces = open_corpus(CorpusSpec("s3://keys/docs")).slices(1 << 24)
print(sum(1 for _ in pieces), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_listings_memory_does_not_grow_with_the_keys() -> None:
    """A hundred pages take what five take; pyarrow's own listing takes 60 MB more for them."""
    peaks = {}
    for keys in (5_000, 100_000):
        with Listing(keys) as server:
            command = [sys.executable, "-c", PLANNED]
            said = subprocess.check_output(command, env=os.environ | environment(server.endpoint))
        count, peaks[keys] = map(int, said.split())
        assert count == keys
    assert peaks[100_000] - peaks[5_000] < 15, peaks


# ------------------------------------------------------------------ how it is reached
def test_the_endpoint_may_stand_in_the_uri(s3: Server, bucket: str) -> None:
    """For two servers at once; no message shows the options."""
    host = s3.endpoint.removeprefix("http://")
    variables = environment("http://127.0.0.1:9")
    with exported(variables):
        folder = Folder(f"s3://{bucket}/staging?endpoint_override={host}&scheme=http", "docs")
        folder.write("a", b"x")
        assert folder.sizes("") == {"a": 1}
        assert folder.describe("a") == f"s3://{bucket}/staging/docs/a"


def test_credentials_and_endpoint_come_from_the_shared_files(
    s3: Server, bucket: str, tmp_path: Path
) -> None:
    """As `aws configure` writes them, by profile, for both clients."""
    variables = environment(s3.endpoint)
    key, secret = variables.pop("AWS_ACCESS_KEY_ID"), variables.pop("AWS_SECRET_ACCESS_KEY")
    endpoint, region = variables.pop("AWS_ENDPOINT_URL"), variables.pop("AWS_REGION")
    credentials, config = tmp_path / "credentials", tmp_path / "config"
    credentials.write_text(
        f"[default]\naws_access_key_id = none\naws_secret_access_key = none\n"
        f"[staging]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    )
    config.write_text(
        f"[default]\n[profile staging]\nregion = {region}\nendpoint_url = {endpoint}\n"
    )
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(credentials), "AWS_CONFIG_FILE": str(config)}
    with exported(variables | files | {"AWS_PROFILE": "staging"}):
        folder = Folder(f"s3://{bucket}/staging")
        folder.write("a", b"x")
        assert folder.sizes("") == {"a": 1}
    with (
        exported(variables | files | {"AWS_PROFILE": "nobody"}),
        pytest.raises(ConfigError, match="nobody"),
    ):
        Folder(f"s3://{bucket}/staging")


def test_tls_is_checked_by_the_configured_ca(s3: Server, bucket: str, tmp_path: Path) -> None:
    """Both clients use AWS_CA_BUNDLE; without it they refuse the server."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with Proxy(s3.port, tls) as proxy:
        variables = environment(proxy.endpoint)
        with exported(variables | {"AWS_CA_BUNDLE": str(bundle)}):
            folder = Folder(f"s3://{bucket}/staging")
            folder.write("a", b"x")
            assert folder.sizes("") == {"a": 1}
        with exported(variables):
            folder = Folder(f"s3://{bucket}/staging")
            with pytest.raises(StagingError, match="no answer"):
                folder.write("b", b"x")
            with pytest.raises(StagingError, match="no answer"):
                folder.sizes("")
    assert s3.objects(bucket) == {"staging/a": 1}


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody")],
)
def test_wrong_credentials_are_reported_and_never_shown(
    s3: Server, bucket: str, variable: str, value: str
) -> None:
    """Writing, reading, listing and removing each name the server and what to check."""
    with exported(environment(s3.endpoint) | {variable: value}):
        folder = Folder(f"s3://{bucket}/staging")
        said = []
        for call in (
            lambda: folder.write("a", b"x"),
            lambda: folder.read("a"),
            lambda: folder.sizes(""),
            lambda: folder.remove("a"),
            lambda: listed(f"s3://{bucket}/docs"),
        ):
            with pytest.raises((StagingError, CorpusError), match="refuses the credentials") as no:
                call()
            said.append(str(no.value))
        assert all("AWS_PROFILE" in text and s3.endpoint in text for text in said)
        secrets = environment("")["AWS_ACCESS_KEY_ID"], SECRET, value
        assert not [text for text in said for secret in secrets if secret in text]


# ------------------------------------------------------------------ trouble
def test_the_client_retries_a_busy_server(proxy: Proxy, bucket: str) -> None:
    """503 and a cut connection cost a second request; callers see no error."""
    seen: set[tuple[str, str]] = set()

    def once(asked: Asked) -> str:
        first = (asked.method, asked.path) not in seen
        seen.add((asked.method, asked.path))
        return ("busy" if asked.method == "PUT" else "drop") if first else ""

    proxy.broken = once  # type: ignore[assignment]
    folder = Folder(f"s3://{bucket}/staging")
    folder.write("a", b"x")
    assert folder.read("a").to_pybytes() == b"x"  # type: ignore[union-attr]
    assert folder.sizes("") == {"a": 1}
    folder.remove("a")
    assert folder.sizes("") == {}
    assert proxy.count("PUT") == 2


def test_a_server_that_stays_busy_ends_in_an_error(proxy: Proxy, bucket: str) -> None:
    """After the client's own attempts only."""
    proxy.broken = lambda asked: "busy"
    folder = Folder(f"s3://{bucket}/staging")
    with pytest.raises(StagingError, match="failed after several attempts") as caught:
        folder.write("a", b"x")
    assert proxy.count("PUT") == 2  # AWS_MAX_ATTEMPTS
    assert "run the same command again" in caught.value.fix


def test_an_unreachable_server_is_named(bucket: str) -> None:
    """Errors of staging and corpus name its address."""
    with exported(environment("http://127.0.0.1:9")):
        with pytest.raises(StagingError, match=r"no answer from .* http://127\.0\.0\.1:9"):
            Folder(f"s3://{bucket}/staging").read("a")
        with pytest.raises(StagingError, match="no answer"):
            Folder(f"s3://{bucket}/staging").sizes("")
        with pytest.raises(CorpusError, match="no answer"):
            listed(f"s3://{bucket}/docs")


def test_a_server_gone_while_a_file_is_read_is_not_a_broken_file(
    s3: Server, proxy: Proxy, bucket: str
) -> None:
    """The error does not tell users to replace their files, which are intact."""
    put(s3, f"{bucket}/docs/a.jsonl")
    reader = open_corpus(CorpusSpec(f"s3://{bucket}/docs"))
    slices = list(reader.slices(10**9))
    proxy.broken = lambda asked: "busy" if asked.method == "GET" else ""
    reader = open_corpus(CorpusSpec(f"s3://{bucket}/docs"))
    with pytest.raises(CorpusError, match="failed after several attempts") as caught:
        list(reader.read(slices))
    assert type(caught.value) is CorpusError


UPLOAD = """
import sys
from mrag_pipeline.ports import Mark
from mrag_pipeline.staging.deltas import open_delta
from mrag_pipeline.staging.atomic_folder import Folder
Folder(sys.argv[1]).write("large.parquet", bytes(64 * 1024 * 1024))
"""


def test_a_killed_upload_leaves_no_object(s3: Server, bucket: str) -> None:
    """Readers see the earlier file; the parts wait for the bucket's lifecycle rule."""
    put(s3, f"{bucket}/staging/large.parquet", b"before")
    with proxied(s3) as proxy:
        proxy.delay_s = 0.5
        process = subprocess.Popen(
            [sys.executable, "-c", UPLOAD, f"s3://{bucket}/staging"],
            env=os.environ | environment(proxy.endpoint),
        )
        try:
            deadline = time.monotonic() + 60
            while sum("partNumber=" in one.path for one in proxy.asked) < 2:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(1)  # what the proxy still passes on
    assert s3.objects(bucket) == {"staging/large.parquet": 6}
    (upload,) = s3.sdk.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert upload["Key"] == "staging/large.parquet"
    Folder(f"s3://{bucket}/staging").write("large.parquet", b"after")
    assert s3.objects(bucket) == {"staging/large.parquet": 5}


@pytest.mark.slow
def test_staged_work_outlives_the_server(tmp_path: Path) -> None:
    """After a kill and restart, every acknowledged receipt exists; the rest is staged again."""
    with s3_server(tmp_path / "s3") as server, exported(environment(server.endpoint)):
        server.make_bucket("staging")
        spec = StagingSpec(uri="s3://staging/here")
        staging = open_staging(spec, "docs", "vaaaaaaaaaaaa")
        staging.write_manifest(a_manifest())
        staging.write_shard(an_output(0), PLAN)
        server.kill()
        with pytest.raises(StagingError, match="no answer") as caught:
            staging.write_shard(an_output(1), PLAN)
        assert "finished work is kept" in caught.value.fix
        server.start()
        again = open_staging(spec, "docs", "vaaaaaaaaaaaa")
        assert again.receipt(0, PLAN) is not None
        assert again.receipt(1, PLAN) is None
        again.write_shard(an_output(1), PLAN)
        assert again.receipt(1, PLAN) is not None
