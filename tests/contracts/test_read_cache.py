"""What every ReadCache promises; run by the fake, a folder and real S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrag_pipeline.ports import ReadCache, SliceRead
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import read_cache_files
from mrag_pipeline.staging.read_cache_files import ReadCacheFolder
from tests.support.fake_read_cache import FakeReadCache, a_read

Opener = Callable[[], ReadCache]


@pytest.fixture(params=["fake", "folder", "s3"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the cache of the same index again, as another process would."""
    if request.param == "fake":
        fake = FakeReadCache()
        yield lambda: fake
        return
    uri = str(tmp_path / "staging")
    if request.param == "s3":
        uri = f"s3://{request.getfixturevalue('bucket')}/staging"
    yield lambda: ReadCacheFolder(StagingSpec(uri=uri), "docs", {"corpus": "c"})


def plain(reads: Iterator[SliceRead]) -> list[object]:
    """What can be compared."""
    return [(r.piece, r.validator, r.rows.tolist(), r.dead, dict(r.remarks)) for r in reads]


def test_a_new_cache_holds_nothing(reopen: Opener) -> None:
    """Nor does one that was written under another key."""
    assert reopen().load("key") is None
    reopen().write("key", [a_read("a")])
    assert reopen().load("another") is None


@pytest.mark.parametrize("part_slices", [2, 50_000])
def test_files_come_back_as_they_were_written(
    reopen: Opener, part_slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are in several files of the cache, in any order they are asked for."""
    monkeypatch.setattr(read_cache_files, "PART_SLICES", part_slices)
    large = [a_read("b/large.jsonl", number) for number in range(5)]
    nothing = [a_read("c.jsonl", num_rows=0)]
    reopen().write("key", [a_read("a"), *large, *nothing, a_read("d.jsonl")])
    files = reopen().load("key")
    assert files is not None
    assert files.num_files == 4
    assert files.has("c.jsonl", "1")
    assert files.has("b/large.jsonl", "1")
    assert plain(files.slices("b/large.jsonl", "1")) == plain(iter(large))
    assert plain(files.slices("c.jsonl", "1")) == plain(iter(nothing))
    assert plain(files.slices("a", "1")) == plain(iter([a_read("a")]))
    assert files.problem == ""


def test_a_file_is_known_by_its_path_and_its_validator(reopen: Opener) -> None:
    """A file that has changed, and one that is new, are not."""
    reopen().write("key", [a_read("a", validator="1")])
    files = reopen().load("key")
    assert files is not None
    assert (files.has("a", "1"), files.has("a", "2"), files.has("b", "1")) == (True, False, False)
    assert list(files.slices("a", "2")) == []


def test_the_last_write_counts(reopen: Opener) -> None:
    """It replaces everything."""
    reopen().write("key", [a_read("a"), a_read("b")])
    reopen().write("other", [a_read("c")])
    assert reopen().load("key") is None
    files = reopen().load("other")
    assert files is not None
    assert (files.num_files, files.has("a", "1"), files.has("c", "1")) == (1, False, True)


def test_a_corpus_without_a_validator_is_an_empty_cache(reopen: Opener) -> None:
    """It holds no file, and is no error."""
    reopen().write("key", [])
    files = reopen().load("key")
    assert files is not None
    assert (files.num_files, files.has("a", "1")) == (0, False)
