"""The cut of a corpus into shards."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.planning import (
    MAX_SHARD_BYTES,
    MIN_SHARD_BYTES,
    Shard,
    Slice,
    cut,
    listing_digest,
    shard_bytes,
)
from mrag_pipeline.settings.sharding import ShardingSpec


def piece(
    path: str, start: int, stop: int, num_bytes: int | None = None, stamp: str = "s"
) -> Slice:
    return Slice(
        path, "bytes", start, stop, stop - start if num_bytes is None else num_bytes, stamp
    )


@st.composite
def listings(draw: st.DrawFn) -> list[Slice]:
    """Some files, each cut into consecutive ranges, as a reader lists them."""
    slices = []
    for number in range(draw(st.integers(0, 6))):
        start = 0
        for length in draw(st.lists(st.integers(1, 500), max_size=6)):
            slices.append(piece(f"f{number}", start, start + length))
            start += length
    return slices


def bytes_of(slices: list[Slice]) -> list[tuple[str, int]]:
    return [(part.path, offset) for part in slices for offset in range(part.start, part.stop)]


@given(listings(), st.integers(1, 1_000), st.integers(1, 5))
def test_every_byte_is_in_exactly_one_shard_in_order(
    slices: list[Slice], target: int, max_files: int
) -> None:
    """Shards laid end to end are the corpus: nothing lost, nothing twice, the order kept."""
    shards = list(cut(slices, target, max_files))
    assert bytes_of([part for shard in shards for part in shard.slices]) == bytes_of(slices)
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(shard.slices for shard in shards)


@given(listings(), st.integers(1, 1_000), st.integers(1, 5))
def test_a_shard_closes_as_soon_as_it_is_full(
    slices: list[Slice], target: int, max_files: int
) -> None:
    """Only the last shard may be under the target; none exceeds it by a whole slice."""
    shards = list(cut(slices, target, max_files))
    largest = max((part.num_bytes for part in slices), default=0)
    for shard in shards:
        assert shard.num_bytes < target + largest
        assert len(shard.slices) <= max_files
    for shard in shards[:-1]:
        assert shard.num_bytes >= target or len(shard.slices) == max_files


@given(listings(), st.integers(1, 1_000))
def test_the_cut_is_deterministic(slices: list[Slice], target: int) -> None:
    """The same listing gives the same shards, whether it comes as a list or a stream."""
    assert list(cut(slices, target)) == list(cut(iter(slices), target))


def test_ranges_that_continue_each_other_become_one() -> None:
    """A shard of three neighbouring ranges reads the file once."""
    slices = [piece("a", 0, 10), piece("a", 10, 20), piece("a", 20, 30), piece("b", 0, 10)]
    assert list(cut(slices, 30)) == [
        Shard(0, (piece("a", 0, 30),)),
        Shard(1, (piece("b", 0, 10),)),
    ]


def test_slices_that_do_not_continue_stay_apart() -> None:
    """A gap, another file, another unit or another stamp begins a slice of its own."""
    first = piece("a", 0, 10)
    others = [
        piece("a", 11, 20),
        replace(piece("a", 10, 20), path="b"),
        replace(piece("a", 10, 20), unit="records"),
        replace(piece("a", 10, 20), stamp="t"),
    ]
    for other in others:
        [shard] = cut([first, other], 1_000)
        assert shard.slices == (first, other)


def test_slices_without_bytes_still_have_a_shard() -> None:
    """Sizes are estimates: a corpus that claims none is cut by the number of files."""
    slices = [piece(f"f{i}", 0, 1, num_bytes=0) for i in range(5)]
    assert [len(shard.slices) for shard in cut(slices, 10, max_files=2)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("spec", "corpus_bytes", "expected"),
    [
        (ShardingSpec(), 0, MIN_SHARD_BYTES),
        (ShardingSpec(), 64_000_000, 1_000_000),
        (ShardingSpec(), 10**12, MAX_SHARD_BYTES),
        (ShardingSpec(shard_mb=2.5), 10, 2_500_000),
        (ShardingSpec(shard_mb=1e-9), 10, 1),
    ],
)
def test_shard_size_follows_the_corpus(
    spec: ShardingSpec, corpus_bytes: int, expected: int
) -> None:
    """A 64th of the corpus within limits, or what the config says; at least a byte."""
    assert shard_bytes(spec, corpus_bytes) == expected


def test_the_listing_digest_sees_every_change() -> None:
    """Path, range, unit, stamp and order count; the byte estimate does not."""
    first, second = piece("a", 0, 10), piece("b", 0, 10)
    seen = {
        listing_digest(slices)
        for slices in (
            [first, second],
            [second, first],
            [first],
            [replace(first, path="c"), second],
            [replace(first, start=1), second],
            [replace(first, stop=9), second],
            [replace(first, unit="records"), second],
            [replace(first, stamp="t"), second],
        )
    }
    assert len(seen) == 8
    assert listing_digest([replace(first, num_bytes=999), second]) == listing_digest(
        [first, second]
    )


def test_file_names_that_are_not_utf8_can_be_listed() -> None:
    """A surrogate in a path has a digest of its own."""
    assert listing_digest([piece("\udcff", 0, 1)]) != listing_digest([piece("\udcfe", 0, 1)])
