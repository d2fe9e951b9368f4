"""Version records in a small collection of their own, each read old or new, never a mix.

A record can be longer than Milvus's longest string, so it is cut. Its pieces are stored under
names that hold its digest; a row named for the version then points to the digest. That one
row is the switch: pieces of the earlier record stay whole until it has moved on.

    part                        payload
    v0123456789ab               {"digest": "9f..", "parts": 3}
    v0123456789ab/9f../0000     first 60 KB
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from pymilvus import MilvusClient

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.index.milvus.named_texts import NamedTexts
from mrag_pipeline.settings.milvus import MilvusSpec

_PIECE_CHARS = 60_000 // 4  # a character is at most 4 bytes, a piece at most 60 KB
_READS = 5  # a record that is replaced while it is read is read again


class RecordStore:
    """The records of one index."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, index: str) -> None:
        self._parts = NamedTexts(client, spec, f"{index}_records")

    def write(self, record: VersionRecord) -> None:
        """Stores the record, replacing an earlier one of its version whole."""
        self._parts.create()
        text = record.to_json()
        digest = _digest(text)
        pieces = [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)]
        rows = [(_piece(record.version, digest, i), piece) for i, piece in enumerate(pieces)]
        head = json.dumps({"digest": digest, "parts": len(pieces)})
        for name, payload in [*rows, (record.version, head)]:
            # One by one and the pointer last, each call done before the next.
            self._parts.put(name, payload)
        self._parts.flush()
        self._remove_others(record.version, digest)

    def read(self, version: str) -> VersionRecord | None:
        """The version's record.

        Raises: VerifyFailed if it is damaged.
        """
        if not self._parts.open():
            return None
        for _ in range(_READS):
            head = self._parts.payloads([version]).get(version)
            if head is None:
                return None
            pointer = json.loads(head)
            names = [_piece(version, pointer["digest"], i) for i in range(pointer["parts"])]
            pieces = self._parts.payloads(names)
            text = "".join(pieces.get(name, "") for name in names)
            if _digest(text) == pointer["digest"]:
                return VersionRecord.from_json(text)
        raise VerifyFailed(
            f"the record of {version} in {self._parts.collection} is damaged",
            f"{len(names)} pieces with digest {pointer['digest']}",
            "run `mrag ingest` again: it writes the record anew",
        )

    def drop(self, version: str) -> None:
        """Removes the record: its pointer first, so that it is there whole or not at all."""
        if self._parts.open():
            self._parts.remove([version])
            self._remove_others(version, "")

    def all(self) -> list[VersionRecord]:
        """Every record, oldest first."""
        if not self._parts.open():
            return []
        found = [self.read(version) for version in self._versions()]
        records = [record for record in found if record is not None]
        return sorted(records, key=lambda record: (record.created_at, record.version))

    def _versions(self) -> Iterator[str]:
        for name in self._parts.names("v"):
            if "/" not in name:
                yield name

    def _remove_others(self, version: str, digest: str) -> None:
        prefix = f"{version}/"
        self._parts.remove(
            name for name in self._parts.names(prefix) if not name.startswith(f"{prefix}{digest}/")
        )


def _piece(version: str, digest: str, number: int) -> str:
    return f"{version}/{digest}/{number:04d}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
