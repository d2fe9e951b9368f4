"""The damaged versions that the crash table lets `mrag repair` put right."""

from __future__ import annotations

import shutil

import numpy as np

from mrag_pipeline.stages.versions.lookup import live_record
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
