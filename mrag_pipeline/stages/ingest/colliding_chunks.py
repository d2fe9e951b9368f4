"""Documents that are set aside because a chunk's id is an earlier chunk's (decision 67).

Chunk ids are 63 bits of a hash. Two are equal by chance in 1 run of 20 with a billion chunks, and
in 1 of 20 million with a million. It costs a document; refusing would cost the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mrag_pipeline.domain.dead_letters import chunk_id_taken
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.ports import Staging


class Collision(NamedTuple):
    """A staged chunk whose id an earlier chunk has."""

    chunk_id: int
    shard: int
    row: int  # of the shard's chunks


def documents_set_aside(
    collisions: Iterable[Collision], staging: Staging
) -> dict[int, list[DeadLetter]]:
    """The documents of these chunks, by shard, each once: what `write_duplicates` takes."""
    letters: dict[int, dict[str, DeadLetter]] = {}
    for chunk_id, shard, row in collisions:
        document_id = staging.chunks(shard)["document_id"][row].as_py()
        document = next(own for own in staging.documents(shard) if own.id == document_id)
        letter = chunk_id_taken(document_id, document.source, chunk_id, document.fingerprint)
        letters.setdefault(shard, {})[document_id] = letter
    return {shard: list(by_id.values()) for shard, by_id in sorted(letters.items())}
