"""Version records in a collection of their own; a reader sees the old or the new, never a mix.

A record can be longer than Milvus's longest string, so it is stored in pieces. Their names hold
the record's digest, and a row named after the version points to that digest. Writing this row
switches to the new record; the earlier record's pieces are removed only after that.

    part                        payload
    v0123456789ab               {"digest": "9f..", "parts": 3}
    v0123456789ab/9f../0000     first 60 KB
    v0123456789ab/import        what an import that has not ended loads; no record, for any reader
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
_READS = 5  # tries, because the record may be replaced while it is read


class RecordStore:
    """Stores the version records of one index."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, index: str) -> None:
        self.collection = f"{index}_records"
        self._parts = NamedTexts(client, spec, self.collection)

    def write(self, record: VersionRecord) -> None:
        """Stores the record, replacing an earlier one of its version whole."""
        self._parts.create()
        text = record.to_json()
        digest = _digest(text)
        pieces = [text[start : start + _PIECE_CHARS] for start in range(0, len(text), _PIECE_CHARS)]
        rows = [(_piece(record.version, digest, i), piece) for i, piece in enumerate(pieces)]
        pointer = json.dumps({"digest": digest, "parts": len(pieces)})
        for name, payload in [*rows, (record.version, pointer)]:
            # One at a time, the pointer last: each call ends before the next begins.
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
            stored_pointer = self._parts.payloads([version]).get(version)
            if stored_pointer is None:
                return None
            digest, num_parts = _pointed_to(stored_pointer)
            names = [_piece(version, digest, i) for i in range(num_parts)]
            pieces = self._parts.payloads(names)
            text = "".join(pieces.get(name, "") for name in names)
            if _digest(text) == digest:
                return VersionRecord.from_json(text)
        raise VerifyFailed(
            f"the record of {version} in {self._parts.collection} is damaged",
            "the record as it was written",
            f"run `mrag repair --version {version}`: it makes the record anew from staging",
        )

    def begin_import(self, version: str, export: str) -> None:
        """Stores what a version's collections are loaded from, until its record is written."""
        self._parts.create()
        self._parts.put(_import(version), export)

    def import_begun(self, version: str) -> str:
        """What `begin_import` stored of the version; "" if nothing is stored."""
        if not self._parts.open():
            return ""
        return self._parts.payloads([_import(version)]).get(_import(version), "")

    def forget(self) -> None:
        """The collection was dropped."""
        self._parts.forget()

    def drop(self, version: str) -> None:
        """Removes the record, its pointer first, so that no reader sees a part of it."""
        if self._parts.open():
            self._parts.remove([version])
            self._remove_others(version, "")

    def all(self) -> list[VersionRecord]:
        """Every record, oldest first."""
        if not self._parts.open():
            return []
        read = [self.read(version) for version in self._versions()]
        records = [record for record in read if record is not None]
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


def _import(version: str) -> str:
    return f"{version}/import"


def _pointed_to(stored: str) -> tuple[str, int]:
    """A pointer's digest and number of pieces; no digest if it is damaged."""
    try:
        pointer = json.loads(stored)
        return str(pointer["digest"]), int(pointer["parts"])
    except (ValueError, KeyError, TypeError):
        return "", 0


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
