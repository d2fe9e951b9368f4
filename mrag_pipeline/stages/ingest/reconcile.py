"""Finds what no shard can see alone: document ids in two shards, chunk ids that collide.

Each shard's files are read once, by items (`reconcile_items.py`), here or on workers. Memory does
not grow with the corpus: ids wait in buckets on disk (`hash_buckets.py`). It grows with what is
found: half a kilobyte a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from mrag_pipeline.domain.dead_letters import duplicate_id
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.run_limits import check_dead_letters
from mrag_pipeline.ports import OpenPool, Progress, Staging
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.in_order import in_order
from mrag_pipeline.stages.ingest.colliding_chunks import Collision, documents_set_aside
from mrag_pipeline.stages.ingest.hash_buckets import HashBuckets
from mrag_pipeline.stages.ingest.reconcile_items import (
    DocumentKeys,
    KeptChunks,
    Reconciler,
    reconcile_items,
)
from mrag_pipeline.stages.serial_pool import in_this_process

IDS_IN_MEMORY = 250_000  # 6 MB; more wait on disk


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
    of_documents = list(reconcile_items(manifest, is_of_documents=True))
    of_chunks = list(reconcile_items(manifest, is_of_documents=False))
    progress.phase("reconcile", len(of_documents) + len(of_chunks), "items")
    work = Reconciler(manifest, staging)
    num_bytes = sum(item.num_bytes for item in of_documents)
    card = manifest.encoder
    zero = ImportanceSums.zero(len(card.heads), card.head_dim)
    places = {shard.index: place for place, shard in enumerate(manifest.shards)}
    with closing(open_pool(work, num_bytes)) as pool:
        with closing(HashBuckets(IDS_IN_MEMORY)) as keys:
            num_documents = num_dead_letters = 0
            document_keys: list[DocumentKeys]
            for document_keys in pool.run(of_documents):
                for read in document_keys:
                    num_documents += read.num_documents
                    num_dead_letters += read.num_dead_letters
                    keys.add(read.shard, read.keys)
                progress.advance(1)
            duplicates = _duplicates(keys, staging)
        staging.write_duplicates(duplicates)
        with closing(HashBuckets(IDS_IN_MEMORY)) as ids:

            def kept_sums() -> Iterator[tuple[int, ImportanceSums]]:
                kept_chunks: list[KeptChunks]
                for kept_chunks in pool.run(of_chunks):
                    for kept in kept_chunks:
                        ids.add(kept.shard, kept.ids.astype(np.uint64))
                        yield places[kept.shard], kept.sums
                    progress.advance(1)

            sums = sum_in_order(kept_sums(), zero)
            colliding = documents_set_aside(_collisions(ids), staging)
    num_left_out = sum(map(len, duplicates.values()))
    if num_left_out:
        progress.note(f"{num_left_out} documents left out: an earlier one has their id")
    if colliding:
        before = [work.kept_chunks(shard) for shard in colliding]
        duplicates = {
            shard: [*duplicates.get(shard, []), *colliding.get(shard, [])]
            for shard in sorted({*duplicates, *colliding})
        }
        staging.write_duplicates(duplicates)
        for old, new in zip(before, map(work.kept_chunks, colliding), strict=True):
            sums = sums - old.sums + new.sums
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


def _duplicates(keys: HashBuckets, staging: Staging) -> Mapping[int, list[DeadLetter]]:
    """The documents that are left out, by shard."""
    suspects: list[tuple[int, int]] = []  # (shard, row) of ids with equal hashes
    for _, places in keys.repeated():
        suspects += [(shard, row) for shard, row in places.tolist()]
    # Two different ids may have equal hashes: compare the ids themselves.
    first_source: dict[str, str] = {}  # by document id
    duplicates: dict[int, list[DeadLetter]] = {}
    for shard, own_suspects in groupby(sorted(suspects), key=lambda suspect: suspect[0]):
        documents = staging.documents(shard)
        for _, row in own_suspects:
            document = documents[row]
            if document.id in first_source:
                letter = duplicate_id(
                    document.id, document.source, first_source[document.id], document.fingerprint
                )
                duplicates.setdefault(shard, []).append(letter)
            else:
                first_source[document.id] = document.source
    return duplicates


def _collisions(ids: HashBuckets) -> Iterator[Collision]:
    """Every chunk but the first in corpus order of each id that several have."""
    for keys, places in ids.repeated():
        is_later = np.append(False, keys[1:] == keys[:-1])
        for chunk_id, (shard, row) in zip(
            keys[is_later].tolist(), places[is_later].tolist(), strict=True
        ):
            yield Collision(chunk_id, shard, row)
