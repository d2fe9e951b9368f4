"""Rows with equal keys are found, even if they do not fit in memory."""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.errors import StorageFull
from mrag_pipeline.stages.ingest.hash_buckets import HashBuckets


def repeated_rows(buckets: HashBuckets) -> list[tuple[int, int, int]]:
    """Every row that shares its key: (key, shard, row)."""
    return [
        (key, shard, row)
        for keys, positions in buckets.repeated()
        for key, (shard, row) in zip(keys.tolist(), positions.tolist(), strict=True)
    ]


@pytest.mark.parametrize("rows_in_memory", [10**6, 1_000, 3])
def test_equal_keys_are_found_with_their_positions(rows_in_memory: int) -> None:
    """In memory or on disk: all rows of a repeated key, in the order they were added."""
    random = np.random.default_rng(5)
    shards = [random.integers(0, 2**63, 500, dtype=np.uint64) for _ in range(7)]
    shards[6][10] = shards[0][3]
    shards[5][0] = shards[0][3]
    shards[2][9] = shards[2][8]
    with closing(HashBuckets(rows_in_memory)) as buckets:
        for number, keys in enumerate(shards):
            buckets.add(number, keys)
        rows = repeated_rows(buckets)
    thrice, twice = int(shards[0][3]), int(shards[2][8])
    assert [row for row in rows if row[0] == thrice] == [
        (thrice, 0, 3),
        (thrice, 5, 0),
        (thrice, 6, 10),
    ]
    assert [row for row in rows if row[0] == twice] == [(twice, 2, 8), (twice, 2, 9)]
    assert len(rows) == 5


def test_without_repeated_keys_there_are_no_rows() -> None:
    """Not from no rows, an empty shard, or keys that are all different."""
    with closing(HashBuckets(2)) as buckets:
        assert repeated_rows(buckets) == []
    with closing(HashBuckets(2)) as buckets:
        buckets.add(0, np.zeros(0, np.uint64))
        buckets.add(1, np.arange(1_000, dtype=np.uint64))
        assert repeated_rows(buckets) == []


def test_files_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files are removed, also after an error."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        with closing(HashBuckets(2)) as buckets:
            buckets.add(0, np.arange(1_000, dtype=np.uint64))
            assert any(tmp_path.rglob("0*"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_no_more_rows_are_in_memory_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows beyond the limit are on disk, however many are added."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with closing(HashBuckets(1_000)) as buckets:
        for shard in range(50):
            buckets.add(shard, np.arange(shard * 900, shard * 900 + 900, dtype=np.uint64))
            assert buckets._rows._num_held <= 1_000
        [folder] = tmp_path.iterdir()
        assert sum(file.stat().st_size for file in folder.iterdir()) >= 24 * 44_000


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder for temporary files is not the staging folder: the message names it."""

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(HashBuckets(2)) as buckets:
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(StorageFull, match="for the ids of documents or chunks") as caught:
            buckets.add(0, np.arange(10, dtype=np.uint64))
        monkeypatch.undo()
    assert "TMPDIR" in str(caught.value)


@pytest.mark.parametrize("rows_in_memory", [10**6, 50, 3])
def test_different_keys_are_counted_once(rows_in_memory: int) -> None:
    """In memory or on disk, within a block and over several."""
    keys = np.random.default_rng(3).integers(0, 40, (9, 30)).astype(np.uint64)
    with closing(HashBuckets(rows_in_memory)) as buckets:
        assert buckets.num_distinct() == 0
        for number, block in enumerate(keys):
            buckets.add(number, block)
        assert buckets.num_distinct() == len(np.unique(keys))
