"""Plans which collections are filled in ranges, and begins them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.ports import CollectionSpec, Staging, VersionBuilds
from mrag_pipeline.stages.ingest.load_items import EndItem, LoadItem, RangeItem, range_items
from mrag_pipeline.stages.staged_receipts import every_receipt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BegunRanges:
    """A collection that is being filled."""

    missing: Sequence[RangeItem]
    end: EndItem
    num_rows_there: int  # of ranges that an earlier run has loaded


def begin_ranges(
    manifest: Manifest,
    staging: Staging,
    index: VersionBuilds,
    collections: Sequence[CollectionSpec],
    whole: Sequence[LoadItem],
    range_bytes: float,
) -> dict[int, BegunRanges]:
    """The collections that are filled in ranges, by number: created, and nothing kept but ranges.

    Those of the live version are not among them: they are complete, or mended whole.

    Args:
        whole: the item of each collection, where it is built whole.
    Raises: StagingError if a shard is missing; IndexUnavailable.
    """
    ranges = index.ranges()
    large = [item for item in whole if item.num_bytes > range_bytes]
    if ranges is None or not large or index.live() == manifest.version:
        return {}
    rows = _rows_by_shard(manifest, staging)
    in_ranges: dict[int, BegunRanges] = {}
    first_index = len(whole)
    for item in large:
        collection = collections[item.index]
        parts = range_items(item.index, collection, rows, range_bytes, first_index)
        rows_by_name = {part.name: part.num_rows for part in parts}
        if len(parts) < 2 or (
            not item.is_stale and index.is_complete(collection, sum(rows_by_name.values()))
        ):
            continue
        first_index += len(parts)
        if item.is_stale:
            index.drop(collection.name)
        there = ranges.begin_ranges(collection, rows_by_name)
        log.info("ranges_begun name=%s ranges=%d there=%d", collection.name, len(parts), len(there))
        in_ranges[item.index] = BegunRanges(
            [part for part in parts if part.name not in there],
            EndItem(item.index, item.index, rows_by_name),
            sum(rows_by_name[name] for name in there),
        )
    return in_ranges


def _rows_by_shard(manifest: Manifest, staging: Staging) -> Mapping[int, int]:
    """The rows of each shard, without those that are left out."""
    left_out = staging.duplicates() or {}
    rows = {}
    for receipt in every_receipt(manifest, staging):
        is_less = bool(left_out.get(receipt.shard))
        rows[receipt.shard] = (
            len(staging.chunk_ids(receipt.shard)) if is_less else receipt.num_chunks
        )
    return rows
