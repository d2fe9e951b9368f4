"""The damaged versions that the crash table lets `mrag repair` put right."""

from __future__ import annotations

import shutil

import numpy as np

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.stored_rows import staged_chunks
from tests.support.changed_rows import change_chunk, chunk_ids, head_spec, negate_number
from tests.support.fake_staging import table_of
from tests.support.living_index import Living

NO_CHUNK = 17  # the id of a row that belongs to no chunk


def damaged(living: Living) -> None:
    """Rows lost, altered and left over, a collection lost: staging has all that is needed."""
    living.ingest()
    index, record = living.index, live_record(living.index)
    ids = chunk_ids(index, record)
    first, second = record.head_collections()
    [width] = index.vectors(first, ids[:1])[ids[0]].shape
    # A chunk that nobody sees: it may be seen again only when it is in all heads.
    index.delete(first, ids[:1])
    index.delete(record.chunks_collection(), ids[:1])
    index.upsert(head_spec(record, 0), table_of([NO_CHUNK], np.ones((1, width), np.float32)))
    negate_number(index, record, ids[1], head=0)
    change_chunk(index, record, ids[2], text="other")
    index.delete(str(record.lexical_collection()), ids[3:4])
    del index._collections[second]  # type: ignore[attr-defined]


def damaged_without_staging(living: Living) -> None:
    """A vector and a text altered, a chunks row and words lost: documents have to go."""
    living.ingest()
    index, record = living.index, live_record(living.index)
    ids = chunk_ids(index, record)
    negate_number(index, record, ids[0])
    change_chunk(index, record, ids[-1], text="other")
    index.delete(record.chunks_collection(), ids[4:5])
    index.delete(str(record.lexical_collection()), ids[5:6])
    shutil.rmtree(living.folder)


def damaged_and_a_shard_lost(living: Living) -> None:
    """Rows lost and altered, of chunks that are staged and of some whose shard is lost.

    A document of the lost shard has to go; the words of another one are made from its chunks rows.
    """
    living.ingest()
    index, record = living.index, live_record(living.index)
    lost, kept = (_chunks_of(living, record.version, shard) for shard in (0, 1))
    negate_number(index, record, lost[0].id)
    index.delete(str(record.lexical_collection()), [lost[-1].id])
    index.delete(record.head_collections()[0], [kept[0].id])
    for file in living.folder.glob(f"*/{record.version}/shards/00000/**/*.parquet"):
        file.unlink()


def _chunks_of(living: Living, version: str, shard: int) -> list[Chunk]:
    return staged_chunks(living.staging(version).chunks(shard))
