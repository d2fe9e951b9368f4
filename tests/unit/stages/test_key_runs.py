"""Keys that are in several runs are found, even if they do not fit in memory."""

from __future__ import annotations

import errno
import io
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.errors import StorageFull
from mrag_pipeline.stages.ingest.key_runs import KeyRuns, Keys

IN_MEMORY = pytest.mark.parametrize("keys_in_memory", [10**6, 1_000, 3])


def runs_of(blocks: Sequence[Keys], keys_in_memory: int, bits: int = 63) -> KeyRuns:
    """Each block is a run; its owner is ten times its number."""
    runs = KeyRuns(bits, keys_in_memory, "keys")
    for number, block in enumerate(blocks):
        runs.add(10 * number, np.sort(block))
    return runs


def repeated(runs: KeyRuns, without: KeyRuns | None = None) -> dict[int, list[int]]:
    """Each owner's keys, in the order in which they are named."""
    keys: dict[int, list[int]] = {}
    for owner, own in runs.repeated(without):
        keys.setdefault(owner, []).extend(own.tolist())
    return keys


def hashes(seed: int, size: int, bits: int = 63) -> Keys:
    return np.random.default_rng(seed).integers(0, 2**bits, size, np.uint64)


@IN_MEMORY
@pytest.mark.parametrize("bits", [63, 64])
def test_repeated_keys_are_named_with_all_who_have_them(keys_in_memory: int, bits: int) -> None:
    """In memory or on disk: in several runs or in one, each once for an owner, and rising."""
    blocks = [hashes(number, 500, bits) for number in range(7)]
    blocks[6][10] = blocks[5][0] = blocks[0][3]
    blocks[2][9] = blocks[2][8]
    blocks[4][[0, 1, 2]] = blocks[3][[0, 1, 2]] = [0, 2**bits - 1, 7]
    with closing(runs_of(blocks, keys_in_memory, bits)) as runs:
        found = repeated(runs)
        assert repeated(runs) == found  # it can be asked again
    thrice, twice = int(blocks[0][3]), int(blocks[2][8])
    several = [0, 7, 2**bits - 1]
    assert found == {
        0: [thrice], 50: [thrice], 60: [thrice], 20: [twice], 30: several, 40: several,
    }  # fmt: skip


@IN_MEMORY
def test_keys_of_more_bits_are_found_too(keys_in_memory: int) -> None:
    """They share the last range."""
    with closing(runs_of([hashes(1, 900, 64), hashes(1, 900, 64)], keys_in_memory)) as runs:
        assert repeated(runs) == {owner: sorted(hashes(1, 900, 64).tolist()) for owner in (0, 10)}


@IN_MEMORY
def test_keys_that_are_taken_away_do_not_count(keys_in_memory: int) -> None:
    """As often as they are taken away: what is there once then is not repeated any more."""
    random = np.random.default_rng(5)
    blocks = [random.integers(0, 300, 100, np.uint64) << np.uint64(54) for _ in range(6)]
    away = [block[::2] for block in blocks[:5]]
    left = Counter(np.concatenate(blocks).tolist())
    left.subtract(np.concatenate(away).tolist())
    wanted = {key for key, times in left.items() if times > 1}
    with (
        closing(runs_of(blocks, keys_in_memory)) as runs,
        closing(runs_of(away, keys_in_memory)) as without,
    ):
        found = repeated(runs, without)
    assert 0 < len(wanted) < 250
    for number, block in enumerate(blocks):
        assert found.get(10 * number, []) == sorted(wanted.intersection(block.tolist()))


@IN_MEMORY
def test_without_repeated_keys_none_is_named(keys_in_memory: int) -> None:
    """Not of no run, an empty one, or keys that are all different."""
    with closing(runs_of([], keys_in_memory)) as runs:
        assert repeated(runs) == {}
    blocks = [np.zeros(0, np.uint64), hashes(1, 2_000), hashes(2, 2_000), np.zeros(0, np.uint64)]
    with closing(runs_of(blocks, keys_in_memory)) as runs:
        assert repeated(runs) == {}


def test_ranges_are_searched_together_as_far_as_they_fit_in_memory() -> None:
    """Few keys at once; many in parts, each of one range at least."""
    blocks = [hashes(number, 2_000) for number in range(5)]
    with closing(runs_of(blocks, 10_000)) as runs:
        assert list(runs._parts()) == [(0, 256)]
    for limit in (3, 1_000):
        with closing(runs_of(blocks, limit)) as runs:
            parts = list(runs._parts())
            sizes = [sum(len(piece) for piece in runs._pieces(*part)) for part in parts]
        assert [first for first, _ in parts] == [0, *(last for _, last in parts[:-1])]
        assert parts[-1][1] == 256
        assert sum(sizes) == 10_000
        assert all(size <= limit or last == first + 1 for (first, last), size in zip(
            parts, sizes, strict=True))  # fmt: skip


def test_its_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that none is left when the process is killed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with closing(runs_of([hashes(1, 1_000)], 2)):
        assert list(tmp_path.iterdir()) == []


class FullDisk(io.BytesIO):
    """Takes nothing, and fails again when it is closed, as a file with a buffer does."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        super().close()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder for temporary files is not the staging folder: the message names it."""
    runs = KeyRuns(63, 2, "the ids of chunks")
    monkeypatch.setattr(runs, "_file", FullDisk())
    with pytest.raises(StorageFull, match="for the ids of chunks") as caught, closing(runs):
        runs.add(0, hashes(1, 10))
    assert "TMPDIR" in str(caught.value)
