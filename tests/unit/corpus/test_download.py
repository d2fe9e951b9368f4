from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from mrag_pipeline.corpus.labelled import paper_sets
from mrag_pipeline.corpus.labelled.download import fetch
from mrag_pipeline.corpus.labelled.paper_sets import PAPER_SETS, PublishedFile
from mrag_pipeline.errors import CorpusNotFound, FingerprintMismatch
from tests.support.loopback_server import LoopbackServer, Quiet


class _Folder(Quiet, SimpleHTTPRequestHandler):
    """Serves the files of a folder."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served over HTTP in place of the authors' repository."""
    root = tmp_path / "repository"
    (root / "abc" / "datasets").mkdir(parents=True)
    with LoopbackServer(partial(_Folder, directory=str(root))) as server:
        monkeypatch.setattr(paper_sets, "_REPOSITORY", server.endpoint)
        yield root / "abc" / "datasets"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_file_is_pinned_by_a_commit() -> None:
    """The content at an address cannot change."""
    for paper_set in PAPER_SETS.values():
        for file in (paper_set.documents, paper_set.queries):
            assert len(file.commit) == 40
            assert file.commit in file.url


def test_the_local_folder_is_searched_first(tmp_path: Path) -> None:
    """A file in it is used in place; nothing is written."""
    (tmp_path / "a.json").write_bytes(b"[]")
    cache = tmp_path / "cache"
    file = PublishedFile("a.json", "abc", sha256(b"[]"))
    assert fetch(file, tmp_path, cache) == tmp_path / "a.json"
    assert not cache.exists()


def test_a_local_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    """A different file with a known name is not evaluated as if it were the known one."""
    (tmp_path / "a.json").write_bytes(b"[1]")
    with pytest.raises(FingerprintMismatch, match=sha256(b"[1]")):
        fetch(PublishedFile("a.json", "abc", sha256(b"[]")), tmp_path, tmp_path)


def test_a_file_is_downloaded_once(repository: Path, tmp_path: Path) -> None:
    """The second call finds it, even if the repository is gone."""
    (repository / "a.json").write_bytes(b"[]")
    file = PublishedFile("a.json", "abc", sha256(b"[]"))
    cache = tmp_path / "cache"
    first = fetch(file, None, cache)
    (repository / "a.json").unlink()
    assert fetch(file, None, cache) == first
    assert first.read_bytes() == b"[]"


def test_a_download_with_another_hash_is_refused(repository: Path, tmp_path: Path) -> None:
    """A known hash is also checked for downloads."""
    (repository / "a.json").write_bytes(b"[1]")
    with pytest.raises(FingerprintMismatch, match="the hash that this version"):
        fetch(PublishedFile("a.json", "abc", sha256(b"[]")), None, tmp_path)


def test_an_unknown_hash_is_stored_at_the_first_download(repository: Path, tmp_path: Path) -> None:
    """A later download that differs is refused."""
    (repository / "a.json").write_bytes(b"[]")
    file = PublishedFile("a.json", "abc")
    path = fetch(file, None, tmp_path)
    path.unlink()
    (repository / "a.json").write_bytes(b"[1]")
    with pytest.raises(FingerprintMismatch, match="the hash of its first download"):
        fetch(file, None, tmp_path)


def test_a_failed_download_says_what_to_do(repository: Path, tmp_path: Path) -> None:
    """The error has the cause and names the variable of the folder to put the file into."""
    with pytest.raises(CorpusNotFound, match=r"a\.json is not in") as caught:
        fetch(PublishedFile("a.json", "abc"), tmp_path, tmp_path / "cache")
    assert "404" in caught.value.found
    assert "MRAG_DATASETS" in caught.value.fix
