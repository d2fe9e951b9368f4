"""Cuts the corpus into shards, the unit of work and retry. Pure: slices in, shards out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from mrag_pipeline.settings.sharding import ShardingSpec

SliceUnit = Literal["file", "bytes", "records", "row_groups", "batches", "modules", "rows"]

MIN_SHARD_BYTES = 128 * 1024
MAX_SHARD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Slice:
    """An exact piece of one file: [start, stop) in its unit."""

    path: str
    unit: SliceUnit
    start: int
    stop: int
    num_bytes: int  # of the source, for balance; an estimate where it is compressed
    stamp: str  # changes when the file does: its size and time, or a version


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work and retry: an exact slice of the corpus."""

    index: int
    slices: tuple[Slice, ...]

    @property
    def num_bytes(self) -> int:
        """Source bytes."""
        return sum(piece.num_bytes for piece in self.slices)

    @property
    def first(self) -> Slice:
        """Where it begins."""
        return self.slices[0]

    @property
    def last(self) -> Slice:
        """Where it ends."""
        return self.slices[-1]


def shard_bytes(spec: ShardingSpec, corpus_bytes: int) -> int:
    """How many source bytes make a shard. Depends on the corpus alone, never on the machine."""
    if spec.shard_mb > 0:
        return max(1, int(spec.shard_mb * 1_000_000))
    return min(max(corpus_bytes // 64, MIN_SHARD_BYTES), MAX_SHARD_BYTES)


def cut(slices: Iterable[Slice], target_bytes: int, max_files: int = 2_000) -> Iterator[Shard]:
    """Every slice in exactly one shard, in order; shards close once they hold `target_bytes`.

    Slices that continue each other become one. No shard is empty.
    """
    index = 0
    held: list[Slice] = []
    held_bytes = 0
    for piece in slices:
        if held and _continues(held[-1], piece):
            held[-1] = replace(
                held[-1], stop=piece.stop, num_bytes=held[-1].num_bytes + piece.num_bytes
            )
        else:
            held.append(piece)
        held_bytes += piece.num_bytes
        if held_bytes >= target_bytes or len(held) >= max_files:
            yield Shard(index, tuple(held))
            index, held, held_bytes = index + 1, [], 0
    if held:
        yield Shard(index, tuple(held))


def listing_digest(slices: Iterable[Slice]) -> str:
    """Changes when the corpus listing does: 32 hex digits over every slice and its stamp."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in slices:
        fields = (piece.path, piece.unit, piece.start, piece.stop, piece.stamp)
        digest.update("\x1f".join(map(str, fields)).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _continues(last: Slice, piece: Slice) -> bool:
    return (
        last.path == piece.path
        and last.unit == piece.unit
        and last.stop == piece.start
        and last.stamp == piece.stamp
    )
