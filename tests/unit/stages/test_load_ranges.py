"""A large collection is filled in ranges of shards, and indexed when all are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.load_items import MAX_RANGES, is_whole, range_items, row_bytes
from mrag_pipeline.stages.version_collections import collections_of
from tests.support.builds import Build, RecordingProgress, a_document
from tests.support.ranged_index import RangedIndex

DOCUMENTS = [
    *(a_document(i) for i in range(12)),
    Document("d0", a_document(99).text, source="again"),  # left out
]
SMALL = 300.0  # bytes of a range: several in each collection
HEAD = CollectionSpec("docs_h", "head", 10)


class ScriptedIndex(RangedIndex):
    """Dies at the range with this number, counted over all collections."""

    def __init__(self, dies_at: int = -1) -> None:
        super().__init__()
        self.dies_at = dies_at
        self.loaded: list[tuple[str, str]] = []

    def load_range(self, collection, name, tables, on_rows):  # type: ignore[no-untyped-def]
        if len(self.loaded) == self.dies_at:
            super().load_range(collection, name, list(tables)[:1], on_rows)
            raise IndexUnavailable("killed")
        self.loaded.append((collection.name, name))
        return super().load_range(collection, name, tables, on_rows)


def ids_of(build: Build, index: ExactIndex) -> dict[str, list[int]]:
    """The rows of each collection."""
    manifest = build.staging.manifest()
    assert manifest is not None
    every = collections_of(manifest)
    return {one.name: sorted(np.concatenate(list(index.ids(one.name))).tolist()) for one in every}


def test_every_row_is_loaded_once_whatever_the_ranges() -> None:
    """As in a load of whole collections; progress counts each row once."""
    build = Build(DOCUMENTS)
    manifest, staged = build.staged()
    whole, ranged, progress = ExactIndex("docs"), ScriptedIndex(), RecordingProgress()
    num_built = load(manifest, build.staging, whole, staged.num_chunks, RecordingProgress())
    args = (manifest, build.staging, ranged, staged.num_chunks)
    assert load(*args, progress, None, SMALL) == num_built
    assert ids_of(build, ranged) == ids_of(build, whole)
    assert progress.done["load"] == num_built * staged.num_chunks
    assert len(ranged.loaded) > 2 * num_built
    assert load(*args, RecordingProgress(), None, SMALL) == 0


def test_a_load_that_was_cut_short_goes_on_with_what_is_missing() -> None:
    """No range that was whole is loaded again."""
    build = Build(DOCUMENTS)
    manifest, staged = build.staged()
    index, progress = ScriptedIndex(dies_at=7), RecordingProgress()
    args = (manifest, build.staging, index, staged.num_chunks)
    with pytest.raises(IndexUnavailable):
        load(*args, RecordingProgress(), None, SMALL)
    index.dies_at = -1
    num_built = load(*args, progress, None, SMALL)
    assert len(index.loaded) == len(set(index.loaded))
    assert progress.done["load"] == num_built * staged.num_chunks
    assert len({tuple(ids) for ids in ids_of(build, index).values()}) == 1


def test_small_collections_and_other_stores_have_no_ranges() -> None:
    """A collection within `range_bytes` is one item; so is every one where ranges are unknown."""
    build = Build(DOCUMENTS)
    manifest, staged = build.staged()
    index = ScriptedIndex()
    load(manifest, build.staging, index, staged.num_chunks, RecordingProgress(), None, 1e9)
    assert index.loaded == []
    exact = ExactIndex("docs")
    assert load(manifest, build.staging, exact, staged.num_chunks, RecordingProgress(), None, 1.0)


@pytest.mark.parametrize("range_bytes", [1.0, 100.0, 1_000.0, 5_000.0])
@pytest.mark.parametrize("num_shards", [1, 7, 1_000])
def test_ranges_hold_each_shard_once_in_order(num_shards: int, range_bytes: float) -> None:
    """Never more than a server has room for; none much larger than asked for, if that can be."""
    rows = {shard: 1 + shard % 5 for shard in range(num_shards)}
    items = range_items(3, HEAD, rows, range_bytes, first_index=10)
    assert [shard for item in items for shard in item.shards] == list(rows)
    assert [item.index for item in items] == list(range(10, 10 + len(items)))
    assert len({item.name for item in items}) == len(items) <= MAX_RANGES["head"] + 1
    assert sum(item.num_rows for item in items) == sum(rows.values())
    total = sum(rows.values()) * row_bytes(HEAD)
    largest = max(range_bytes, total / MAX_RANGES["head"]) + 5 * row_bytes(HEAD)
    assert max(item.num_bytes for item in items) <= largest


class NotedPool:
    """Does items here, and keeps what it was given: a list for each run."""

    def __init__(self, work: Callable[[Any], Any], runs: list[list[Any]]) -> None:
        self._work = work
        self._runs = runs

    def describe(self) -> str:
        return "a fake"

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        self._runs.append(list(items))
        yield from map(self._work, self._runs[-1])

    def close(self) -> None:
        """Nothing is open."""


def test_whole_collections_come_after_ranges_which_are_not_limited() -> None:
    """Heads are small, the chunks rows have texts: so workers without a head fill ranges."""
    build = Build(DOCUMENTS)
    manifest, staged = build.staged()
    index, runs = ScriptedIndex(), list[list[Any]]()
    head, *_, chunks = collections_of(manifest)
    range_bytes = staged.num_chunks * row_bytes(head)
    assert range_bytes < staged.num_chunks * row_bytes(chunks)

    def opened(work: Any, _num_bytes: int) -> NotedPool:
        return NotedPool(work, runs)

    load(
        manifest,
        build.staging,
        index,
        staged.num_chunks,
        RecordingProgress(),
        opened,
        range_bytes,
    )
    first, *others = [[is_whole(item) for item in items] for items in runs]
    num_heads = len(manifest.encoder.heads)
    assert first == sorted(first)
    assert first.count(True) == num_heads
    assert first.count(False) == len(index.loaded) > 1
    assert others == [[], [True]]
