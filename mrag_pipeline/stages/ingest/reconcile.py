"""What no shard can see alone: document ids in two shards, chunk ids that collide.

Each shard's files are read once, some ahead of time. Memory does not grow with the corpus: ids wait
in buckets on disk (`buckets.py`). It grows with what is found: half a kilobyte a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import DocumentRow, Progress, Staging
from mrag_pipeline.stages.ingest.embed import duplicate
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


def reconcile(manifest: Manifest, staging: Staging, progress: Progress) -> StagedCounts:
    """Finds documents that an earlier shard already has, and stores that they are left out.

    So are those of a passage that has an earlier one's chunk id. The first in corpus order stays.
    Running it again finds the same.
    Raises: StagingError if a shard is missing; StorageFull.
    """
    shards = [shard.index for shard in manifest.shards]
    progress.phase("reconcile", len(shards), "shards")
    duplicates, num_documents, num_dead_letters = _duplicates(manifest, staging)
    staging.write_duplicates(duplicates)
    card = manifest.encoder
    sums = ImportanceSums.zero(len(card.heads), card.head_dim)
    num_chunks = 0

    def kept(shard: int) -> tuple[ImportanceSums, NDArray[np.int64]]:
        own = staging.sums(shard)
        if shard in duplicates:
            own = own - ImportanceSums.of(staging.duplicate_vectors(shard))
        return own, staging.chunk_ids(shard)

    with HashBuckets(IDS_IN_MEMORY) as ids:
        for shard, (own, chunk_ids) in zip(shards, read_ahead(kept, shards), strict=True):
            sums = sums + own
            num_chunks += len(chunk_ids)
            ids.add(shard, chunk_ids.astype(np.uint64))
            progress.advance(1)
        met = _met(ids, staging)
    left_out = sum(map(len, duplicates.values()))
    if left_out:
        progress.note(f"{left_out} documents left out: an earlier one has their id")
    if met:
        before = [kept(shard) for shard in met]
        duplicates = {
            shard: [*duplicates.get(shard, []), *met.get(shard, [])]
            for shard in sorted({*duplicates, *met})
        }
        staging.write_duplicates(duplicates)
        for (own, chunk_ids), (less, fewer) in zip(before, map(kept, met), strict=True):
            sums = sums - own + less
            num_chunks += len(fewer) - len(chunk_ids)
        left_out = sum(map(len, duplicates.values()))
        number = sum(map(len, met.values()))
        progress.note(f"{number} documents left out: a passage of theirs has another's id")
    progress.finish()
    return StagedCounts(num_documents - left_out, num_chunks, num_dead_letters + left_out, sums)


def _duplicates(
    manifest: Manifest, staging: Staging
) -> tuple[Mapping[int, list[DeadLetter]], int, int]:
    """The documents that are left out, by shard; all documents; all other dead letters."""

    def look(shard: int) -> tuple[Receipt, NDArray[np.uint64]]:
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
    suspects: list[tuple[int, int]] = []
    with HashBuckets(IDS_IN_MEMORY) as ids:
        for receipt, keys in read_ahead(look, shards):
            num_documents += receipt.num_documents
            num_dead_letters += receipt.num_dead_letters
            ids.add(receipt.shard, keys)
        for _, places in ids.repeated():
            suspects += [(shard, row) for shard, row in places.tolist()]
    # Two ids may have met by hash: the ids themselves tell.
    first: dict[str, str] = {}
    found: dict[int, list[DeadLetter]] = {}
    for shard, own in groupby(sorted(suspects), key=lambda place: place[0]):
        rows = staging.documents(shard)
        for _, at in own:
            row = rows[at]
            if row.id in first:
                letter = duplicate(row.id, row.source, first[row.id], row.fingerprint)
                found.setdefault(shard, []).append(letter)
            else:
                first[row.id] = row.source
    return found, num_documents, num_dead_letters


def _key(row: DocumentRow) -> int:
    encoded = row.id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")


def _met(ids: HashBuckets, staging: Staging) -> dict[int, list[DeadLetter]]:
    """By shard, the documents of which a chunk's id is an earlier chunk's.

    63 bits of hash that have met by chance: 1 run in 20 at a billion chunks, and in 20 million at
    a million. It costs a document; refusing would cost the run.
    """
    found: dict[int, dict[str, DeadLetter]] = {}
    for keys, places in ids.repeated():
        later = np.append(False, keys[1:] == keys[:-1])
        for key, (shard, at) in zip(keys[later].tolist(), places[later].tolist(), strict=True):
            name = staging.chunks(shard)["document_id"][at].as_py()
            row = next(one for one in staging.documents(shard) if one.id == name)
            reason = f"chunk id {key} is an earlier passage's: two hashes have met by chance"
            letter = DeadLetter(name, row.source, reason, row.fingerprint)
            found.setdefault(shard, {})[name] = letter
    return {shard: list(letters.values()) for shard, letters in sorted(found.items())}
