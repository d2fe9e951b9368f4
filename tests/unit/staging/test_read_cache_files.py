"""A cache that is damaged is not believed; only the last one is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrag_pipeline.errors import StagingError, StorageFull
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import read_cache_files
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.read_cache_files import ReadCacheFolder
from tests.support.fake_read_cache import a_read

PATHS = ("a", "b", "c", "d")


def a_cache(folder: Path, basis: str = "c") -> ReadCacheFolder:
    return ReadCacheFolder(StagingSpec(uri=str(folder)), "docs", {"corpus": basis})


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache of four files, two in each of its Parquet files."""
    monkeypatch.setattr(read_cache_files, "PART_SLICES", 2)
    a_cache(tmp_path).write("key", [a_read(path) for path in PATHS])
    return tmp_path / "docs" / "read_cache"


def test_another_way_of_reading_is_another_key(written: Path) -> None:
    """Settings of the corpus, the release, the libraries."""
    assert a_cache(written.parents[1], "another").load("key") is None
    assert a_cache(written.parents[1]).load("key") is not None


def test_a_part_that_is_damaged_costs_its_own_files(written: Path) -> None:
    """What is read of them could be another file's; the others are whole."""
    [second] = written.glob("*/00001.parquet")
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    files = a_cache(written.parents[1]).load("key")
    assert files is not None
    assert [files.has(path, "1") for path in PATHS] == [True, True, False, False]
    assert str(second) in files.problem
    assert "not what was written" in files.problem


def test_a_part_that_is_gone_costs_its_own_files(written: Path) -> None:
    """As one that is damaged."""
    next(written.glob("*/00000.parquet")).unlink()
    files = a_cache(written.parents[1]).load("key")
    assert files is not None
    assert [files.has(path, "1") for path in PATHS] == [False, False, True, True]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b"\xff"])
def test_a_damaged_list_is_an_error(written: Path, content: bytes) -> None:
    """It says which file."""
    (written / "cache.json").write_bytes(content)
    with pytest.raises(StagingError, match=r"cache\.json is missing or damaged"):
        a_cache(written.parents[1]).load("key")


def test_a_damaged_list_of_files_is_an_error(written: Path) -> None:
    """Where slices are is not guessed."""
    next(written.glob("*/files.bin")).write_bytes(b"0123456789abcdef")
    with pytest.raises(StagingError, match=r"files\.bin is missing or damaged"):
        a_cache(written.parents[1]).load("key")


def test_another_format_is_not_read(written: Path) -> None:
    """A newer mrag's, or an older one's: the files are read instead."""
    stored = json.loads((written / "cache.json").read_text())
    (written / "cache.json").write_text(json.dumps(stored | {"format": 2}))
    assert a_cache(written.parents[1]).load("key") is None


def test_earlier_caches_go(written: Path) -> None:
    """And what a writer that was killed left behind."""
    (written / "0123").mkdir()
    (written / "0123" / "00000.parquet").write_bytes(b"half")
    a_cache(written.parents[1]).write("key", [a_read("a")])
    names = {path.name for path in written.iterdir()}
    assert len(names) == 2
    assert "0123" not in names


def test_a_cache_that_does_not_fit_leaves_the_earlier_one(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gives back the room that it took."""
    write = Folder.write
    before = {path.name for path in written.iterdir()}

    def full(folder: Folder, path: str, content: bytes) -> None:
        if path.endswith("00001.parquet"):
            raise StorageFull("no space left")
        write(folder, path, content)

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(StorageFull):
        a_cache(written.parents[1]).write("key", [a_read(path) for path in PATHS])
    assert {path.name for path in written.iterdir()} == before
    files = a_cache(written.parents[1]).load("key")
    assert files is not None
    assert all(files.has(path, "1") for path in PATHS)
