"""A Milvus Lite database that this user cannot write is searched, and never changed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline.errors import ConfigError, IndexBusy, IndexUnavailable, MragError, StorageFull
from mrag_pipeline.index.milvus import database, lite_clients, read_only
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.living_index import Living, a_document


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A database with a live version."""
    path = tmp_path / "x.db"
    with closing(open_index(MilvusSpec(uri=str(path)), "docs")) as index:
        Living(tmp_path / "staging", [a_document(1), a_document(2)], index, num_heads=2).ingest()
    return path


@pytest.fixture
def unwritable(built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, as a user finds it who may only read; root may always write."""
    for module in (lite_clients, database):
        monkeypatch.setattr(module, "is_read_only", lambda path: path == built)
    before = _files(built)
    yield built
    assert _files(built) == before


def _files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_it_is_read_and_left_as_it_was(unwritable: Path) -> None:
    """Two readers at a time; what they made is gone when both are closed."""
    spec = MilvusSpec(uri=str(unwritable))
    with closing(open_index(spec, "docs")) as index, closing(open_index(spec, "docs")) as other:
        version = index.live()
        assert version is not None
        stored = index.record(version)
        assert stored is not None
        assert stored.version == version == other.live()
        assert "read-only" in index.describe()
        linked = lite_clients._linked[str(unwritable)].folder
        assert linked.is_dir()
    assert not linked.parent.exists()


def test_a_change_is_refused(unwritable: Path) -> None:
    """It would be lost with the links."""
    with closing(open_index(MilvusSpec(uri=str(unwritable)), "docs")) as index:
        version = index.live()
        assert version is not None
        with pytest.raises(ConfigError, match="can be searched only"):
            index.activate(version)


def test_a_writer_is_not_read_beside(built: Path) -> None:
    """What it has half written would be read."""
    with (
        closing(open_index(MilvusSpec(uri=str(built)), "docs")),
        pytest.raises(IndexBusy, match="open in another process"),
    ):
        read_only.LinkedDatabase(built)


@pytest.mark.parametrize(
    ("cause", "ours", "advice"),
    [
        (None, IndexUnavailable, "loopback"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), ConfigError, "correct"),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFull, "free space"),
        (OSError(errno.EMFILE, "Too many open files"), ConfigError, "correct"),
        (ValueError("manifest: Expecting value"), ConfigError, "move it away"),
    ],
)
def test_only_what_was_found_damaged_is_moved_away(
    cause: Exception | None, ours: type[MragError], advice: str
) -> None:
    """A permission, a full disk or a proxy says nothing of the database."""
    error = lite_clients._lite_error(Path("x.db"), cause)
    assert type(error) is ours
    assert advice in error.fix
    assert ("move it away" in error.fix) == isinstance(cause, ValueError)
