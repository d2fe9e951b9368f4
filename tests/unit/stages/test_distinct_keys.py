"""Different keys are counted, even if they do not fit in memory."""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.errors import StorageFull
from mrag_pipeline.stages.distinct_keys import DistinctKeys


@pytest.mark.parametrize("keys_in_memory", [10**6, 50, 3])
def test_different_keys_are_counted_once(keys_in_memory: int) -> None:
    """In memory or on disk, within a block and over several, from no keys on."""
    blocks = np.random.default_rng(3).integers(0, 40, (9, 30)).astype(np.uint64)
    with closing(DistinctKeys(keys_in_memory)) as keys:
        assert keys.count() == 0
        keys.add(np.zeros(0, np.uint64))
        for block in blocks:
            keys.add(block)
        assert keys.count() == len(np.unique(blocks))


def test_files_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files are removed, also after an error."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        with closing(DistinctKeys(2)) as keys:
            keys.add(np.arange(1_000, dtype=np.uint64))
            assert any(tmp_path.rglob("0*"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_no_more_keys_are_in_memory_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys beyond the limit are on disk, however many are added."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with closing(DistinctKeys(1_000)) as keys:
        for block in range(50):
            keys.add(np.arange(block * 900, block * 900 + 900, dtype=np.uint64))
            assert keys._rows._num_held <= 1_000
        [folder] = tmp_path.iterdir()
        assert sum(file.stat().st_size for file in folder.iterdir()) >= 8 * 44_000


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder for temporary files is not the staging folder: the message names it."""

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(DistinctKeys(2)) as keys:
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(StorageFull, match="for the ids of documents") as caught:
            keys.add(np.arange(10, dtype=np.uint64))
        monkeypatch.undo()
    assert "TMPDIR" in str(caught.value)
