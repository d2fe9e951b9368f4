"""Finds what no shard can see alone: document ids in two shards, chunk ids that collide.

Each shard's files are read once, some ahead of time. Memory does not grow with the corpus: ids wait
in buckets on disk (`hash_buckets.py`). It grows with what is found: half a kilobyte a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.dead_letters import duplicate_id
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.run_limits import check_dead_letters
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import DocumentRow, Progress, Staging
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.colliding_chunks import Collision, documents_set_aside
from mrag_pipeline.stages.ingest.hash_buckets import HashBuckets
from mrag_pipeline.stages.ingest.read_ahead import read_ahead

IDS_IN_MEMORY = 250_000  # 6 MB; more wait on disk


@dataclass(frozen=True, slots=True, eq=False)
class StagedCounts:
    """What a version will hold once duplicates are left out."""

    num_documents: int
    num_chunks: int
    num_dead_letters: int  # duplicates counted
    sums: ImportanceSums


def reconcile(
    manifest: Manifest, staging: Staging, spec: IngestSpec, progress: Progress
) -> StagedCounts:
    """Finds documents whose id an earlier shard has, and stores that they are left out.

    Documents with a chunk whose id an earlier chunk has are left out too. The first in corpus
    order stays. Running it again gives the same result.
    Raises: StagingError if a shard is missing; TooManyDeadLetters if so many chunk ids collide;
        StorageFull.
    """
    shards = [shard.index for shard in manifest.shards]
    progress.phase("reconcile", len(shards), "shards")
    duplicates, num_documents, num_dead_letters = _duplicates(manifest, staging)
    staging.write_duplicates(duplicates)
    card = manifest.encoder
    sums = ImportanceSums.zero(len(card.heads), card.head_dim)
    num_chunks = 0

    def counted(shard: int) -> tuple[ImportanceSums, NDArray[np.int64]]:
        """The sums and chunk ids of what is not left out."""
        shard_sums = staging.sums(shard)
        if shard in duplicates:
            shard_sums = shard_sums - ImportanceSums.of(staging.duplicate_vectors(shard))
        return shard_sums, staging.chunk_ids(shard)

    with HashBuckets(IDS_IN_MEMORY) as ids:
        for shard, (shard_sums, chunk_ids) in zip(shards, read_ahead(counted, shards), strict=True):
            sums = sums + shard_sums
            num_chunks += len(chunk_ids)
            ids.add(shard, chunk_ids.astype(np.uint64))
            progress.advance(1)
        colliding = documents_set_aside(_collisions(ids), staging)
    num_left_out = sum(map(len, duplicates.values()))
    if num_left_out:
        progress.note(f"{num_left_out} documents left out: an earlier one has their id")
    if colliding:
        before = [counted(shard) for shard in colliding]
        duplicates = {
            shard: [*duplicates.get(shard, []), *colliding.get(shard, [])]
            for shard in sorted({*duplicates, *colliding})
        }
        staging.write_duplicates(duplicates)
        after = map(counted, colliding)
        for (old_sums, old_ids), (new_sums, new_ids) in zip(before, after, strict=True):
            sums = sums - old_sums + new_sums
            num_chunks += len(new_ids) - len(old_ids)
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
        num_documents - num_left_out, num_chunks, num_dead_letters + num_left_out, sums
    )


def _duplicates(
    manifest: Manifest, staging: Staging
) -> tuple[Mapping[int, list[DeadLetter]], int, int]:
    """The documents that are left out, by shard; all documents; all other dead letters."""

    def read_keys(shard: int) -> tuple[Receipt, NDArray[np.uint64]]:
        receipt = staging.receipt(shard, manifest.fingerprint)
        if receipt is None:
            raise StagingError(
                f"shard {shard} is not staged in {staging.describe()}",
                "a receipt for every shard",
                "run `mrag ingest` again: it embeds what is missing",
            )
        return receipt, np.array([_key(row) for row in staging.documents(shard)], np.uint64)

    shards = [shard.index for shard in manifest.shards]
    num_documents = num_dead_letters = 0
    suspects: list[tuple[int, int]] = []  # (shard, row) of ids with equal hashes
    with HashBuckets(IDS_IN_MEMORY) as ids:
        for receipt, keys in read_ahead(read_keys, shards):
            num_documents += receipt.num_documents
            num_dead_letters += receipt.num_dead_letters
            ids.add(receipt.shard, keys)
        for _, places in ids.repeated():
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
    return duplicates, num_documents, num_dead_letters


def _key(row: DocumentRow) -> int:
    encoded = row.id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")


def _collisions(ids: HashBuckets) -> Iterator[Collision]:
    """Every chunk but the first in corpus order of each id that several have."""
    for keys, places in ids.repeated():
        is_later = np.append(False, keys[1:] == keys[:-1])
        for chunk_id, (shard, row) in zip(
            keys[is_later].tolist(), places[is_later].tolist(), strict=True
        ):
            yield Collision(chunk_id, shard, row)
