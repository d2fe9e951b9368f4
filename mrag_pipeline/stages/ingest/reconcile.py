"""Finds what no shard can see alone: document ids in two shards, chunk ids that collide.

Each shard's files are read once, by items (`reconcile_items.py`), here or on workers; items also
sort, and read again what is found twice. This process compares sorted runs (`key_runs.py`), so its
memory grows with a 256th of the ids, and with what is found: half a kilobyte a duplicate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrag_pipeline.domain.dead_letters import duplicate_id
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.run_limits import check_dead_letters
from mrag_pipeline.ports import OpenPool, Progress, Staging, WorkerPool
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.in_order import in_order
from mrag_pipeline.stages.ingest.colliding_chunks import Collision, documents_set_aside
from mrag_pipeline.stages.ingest.key_runs import KeyRuns, Keys
from mrag_pipeline.stages.ingest.reconcile_items import (
    DocumentsFound,
    FindDocuments,
    LeftOut,
    ReadLeftOut,
    ReadShards,
    Reconciler,
    ShardsRead,
    reconcile_items,
)
from mrag_pipeline.stages.serial_pool import in_this_process

IDS_IN_MEMORY = 250_000  # of documents and of chunks, 2 MB each; more wait on disk

Pool = WorkerPool[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class StagedCounts:
    """What a version will hold once duplicates are left out."""

    num_documents: int
    num_chunks: int
    num_dead_letters: int  # duplicates counted
    sums: ImportanceSums


def reconcile(
    manifest: Manifest,
    staging: Staging,
    spec: IngestSpec,
    progress: Progress,
    open_pool: OpenPool = in_this_process,
) -> StagedCounts:
    """Finds documents whose id an earlier shard has, and stores that they are left out.

    Documents with a chunk whose id an earlier chunk has are left out too. The first in corpus
    order stays. Running it again gives the same result, to the last bit.

    Args:
        open_pool: where shards are read; the result is the same.
    Raises: StagingError if a shard is missing; TooManyDeadLetters if so many chunk ids collide;
        StorageFull.
    """
    items = list(reconcile_items(manifest))
    # Each counts twice: when it is read, and when what is left out of its shards is known.
    progress.phase("reconcile", 2 * len(items), "items")
    work = Reconciler(manifest, staging)
    card = manifest.encoder
    zero = ImportanceSums.zero(len(card.heads), card.head_dim)
    places = {shard.index: place for place, shard in enumerate(manifest.shards)}
    num_documents = num_dead_letters = 0
    with (
        closing(open_pool(work, sum(item.num_bytes for item in items))) as pool,
        closing(_runs(64, "documents")) as document_keys,
        closing(_runs(63, "chunks")) as chunk_ids,
        closing(_runs(63, "chunks")) as left_out_ids,
    ):

        def sums_of_shards() -> Iterator[tuple[int, ImportanceSums]]:
            nonlocal num_documents, num_dead_letters
            read: ShardsRead
            for read in pool.run(items):
                num_documents += read.num_documents
                num_dead_letters += read.num_dead_letters
                document_keys.add(read.index, read.document_keys)
                chunk_ids.add(read.index, read.chunk_ids)
                for shard, own in zip(items[read.index].shards, read.sums, strict=True):
                    # A copy: a part of the answer would keep all of it in memory while it waits.
                    yield places[shard], zero + own
                progress.advance(1)

        sums = sum_in_order(sums_of_shards(), zero)
        duplicates = _duplicates(document_keys, items, pool)
        staging.write_duplicates(duplicates)
        affected = _affected(items, duplicates)
        progress.advance(len(items) - len(affected))
        left_out: LeftOut
        for left_out in in_order(pool.run(affected), lambda answer: answer.index):
            left_out_ids.add(left_out.index, left_out.chunk_ids)
            for of_shard in left_out.sums:
                sums = sums - of_shard
            progress.advance(1)
        repeated = _by_item(chunk_ids.repeated(left_out_ids))
        colliding = documents_set_aside(_collisions(repeated, items, staging), staging)
    num_left_out = sum(map(len, duplicates.values()))
    if num_left_out:
        progress.note(f"{num_left_out} documents left out: an earlier one has their id")
    if colliding:
        before = [work.left_out_sums(shard) for shard in colliding]
        duplicates = {
            shard: [*duplicates.get(shard, []), *colliding.get(shard, [])]
            for shard in sorted({*duplicates, *colliding})
        }
        staging.write_duplicates(duplicates)
        for old, new in zip(before, map(work.left_out_sums, colliding), strict=True):
            sums = sums + old - new
        num_left_out = sum(map(len, duplicates.values()))
        number = sum(map(len, colliding.values()))
        progress.note(f"{number} documents left out: a chunk of theirs has an earlier one's id")
        check_dead_letters(
            spec,
            num_dead_letters + num_left_out,
            num_documents - num_left_out,
            "what was embedded is kept",
            staging.describe(),
        )
    progress.finish()
    return StagedCounts(
        num_documents - num_left_out, sums.num_chunks, num_dead_letters + num_left_out, sums
    )


def sum_in_order(
    found: Iterable[tuple[int, ImportanceSums]], zero: ImportanceSums
) -> ImportanceSums:
    """The sum of all shards' sums, added in the plan's order whenever they come.

    Sums of floats depend on their order. Those that came before their turn wait: a few kilobytes a
    shard, as many as are done while the slowest is not.

    Args:
        found: sums with the place of their shard in the plan, from 0 on; each shard once.
    """
    total = zero
    for _, sums in in_order(found, lambda placed: placed[0]):
        total = total + sums
    return total


def _duplicates(
    keys: KeyRuns, items: Sequence[ReadShards], pool: Pool
) -> dict[int, list[DeadLetter]]:
    """The documents that are left out, by shard."""
    suspects = [
        FindDocuments(number, items[index].shards, items[index].num_bytes, own)
        for number, (index, own) in enumerate(sorted(_by_item(keys.repeated()).items()))
    ]
    # Two different ids may have equal keys: compare the ids themselves.
    first_source: dict[str, str] = {}  # by document id
    duplicates: dict[int, list[DeadLetter]] = {}
    found: DocumentsFound
    for found in in_order(pool.run(suspects), lambda answer: answer.index):
        for shard, document in found.documents:
            if document.id in first_source:
                letter = duplicate_id(
                    document.id, document.source, first_source[document.id], document.fingerprint
                )
                duplicates.setdefault(shard, []).append(letter)
            else:
                first_source[document.id] = document.source
    return duplicates


def _affected(items: Sequence[ReadShards], duplicates: Mapping[int, object]) -> list[ReadLeftOut]:
    """What reads the shards that have duplicates, in order."""
    affected: list[ReadLeftOut] = []
    for item in items:
        shards = tuple(shard for shard in item.shards if shard in duplicates)
        if shards:
            affected.append(ReadLeftOut(len(affected), shards, item.num_bytes))
    return affected


def _collisions(
    repeated: Mapping[int, Keys], items: Sequence[ReadShards], staging: Staging
) -> Iterator[Collision]:
    """Every chunk but the first in corpus order of each id that several have.

    Args:
        repeated: such ids, by the item whose shards hold them. There are next to none.
    """
    seen: set[int] = set()
    for index in sorted(repeated):
        for shard in items[index].shards:
            ids = staging.chunk_ids(shard).astype(np.uint64)
            for row in np.flatnonzero(np.isin(ids, repeated[index])).tolist():
                chunk_id = int(ids[row])
                if chunk_id in seen:
                    yield Collision(chunk_id, shard, row)
                seen.add(chunk_id)


def _by_item(repeated: Iterable[tuple[int, Keys]]) -> dict[int, Keys]:
    """All keys of each item, rising."""
    parts: defaultdict[int, list[Keys]] = defaultdict(list)
    for index, keys in repeated:
        parts[index].append(keys)
    return {index: np.concatenate(own) for index, own in parts.items()}


def _runs(bits: int, of: str) -> KeyRuns:
    return KeyRuns(bits, IDS_IN_MEMORY, f"the ids of {of}")
