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
from mrag_pipeline.index.connection import translated
from mrag_pipeline.index.schema import quoted, record_schema
from mrag_pipeline.index.spec import MilvusSpec

_PIECE_CHARS = 60_000 // 4  # a character is at most 4 bytes, a piece at most 60 KB
_VECTOR = [1.0, 0.0]
_READS = 5  # a record that is replaced while it is read is read again
_MAX_ROWS = 16_000  # a server answers no more at once


class RecordStore:
    """The records of one index."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, index: str) -> None:
        self._client = client
        self._spec = spec
        self.collection = f"{index}_records"
        self._ready = False

    def write(self, record: VersionRecord) -> None:
        """Stores the record, replacing an earlier one of its version whole."""
        self._create()
        text = record.to_json()
        digest = _digest(text)
        pieces = [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)]
        rows = [(_piece(record.version, digest, i), piece) for i, piece in enumerate(pieces)]
        head = json.dumps({"digest": digest, "parts": len(pieces)})
        with translated(f"cannot write the record of {record.version}"):
            for row in [*rows, (record.version, head)]:
                # One by one and the pointer last, each call done before the next.
                self._upsert(*row)
            self._client.flush(self.collection, timeout=self._spec.build_timeout_s)
            self._remove_others(record.version, digest)

    def read(self, version: str) -> VersionRecord | None:
        """The version's record.

        Raises: VerifyFailed if it is damaged.
        """
        if not self._open():
            return None
        for _ in range(_READS):
            head = self._payloads([version]).get(version)
            if head is None:
                return None
            pointer = json.loads(head)
            names = [_piece(version, pointer["digest"], i) for i in range(pointer["parts"])]
            pieces = self._payloads(names)
            text = "".join(pieces.get(name, "") for name in names)
            if _digest(text) == pointer["digest"]:
                return VersionRecord.from_json(text)
        raise VerifyFailed(
            f"the record of {version} in {self.collection} is damaged",
            f"{len(names)} pieces with digest {pointer['digest']}",
            "run `mrag ingest` again: it writes the record anew",
        )

    def drop(self, version: str) -> None:
        """Removes the record: its pointer first, so that it is there whole or not at all."""
        if not self._open():
            return
        with translated(f"cannot remove the record of {version}"):
            self._client.delete(self.collection, ids=[version], timeout=self._spec.timeout_s)
            self._remove_others(version, "")

    def all(self) -> list[VersionRecord]:
        """Every record, oldest first."""
        if not self._open():
            return []
        found = [self.read(version) for version in self._versions()]
        records = [record for record in found if record is not None]
        return sorted(records, key=lambda record: (record.created_at, record.version))

    def _versions(self) -> Iterator[str]:
        for part in self._names('part like "v%"'):
            if "/" not in part:
                yield part

    def _remove_others(self, version: str, digest: str) -> None:
        prefix = f"{version}/"
        names = self._names(f"part like {quoted(prefix + '%')}")
        old = [name for name in names if not name.startswith(f"{prefix}{digest}/")]
        if old:
            self._client.delete(self.collection, ids=old, timeout=self._spec.timeout_s)

    def _names(self, matching: str) -> list[str]:
        with translated(f"cannot read {self.collection}"):
            rows = self._client.query(
                self.collection,
                filter=matching,
                output_fields=["part"],
                limit=_MAX_ROWS,
                consistency_level="Strong",
                timeout=self._spec.timeout_s,
            )
        return sorted(row["part"] for row in rows)

    def _payloads(self, names: list[str]) -> dict[str, str]:
        with translated(f"cannot read {self.collection}"):
            rows = self._client.query(
                self.collection,
                filter=f"part in [{', '.join(map(quoted, names))}]",
                output_fields=["part", "payload"],
                consistency_level="Strong",
                timeout=self._spec.timeout_s,
            )
        return {row["part"]: row["payload"] for row in rows}

    def _upsert(self, part: str, payload: str) -> None:
        row = {"part": part, "payload": payload, "vector": _VECTOR}
        self._client.upsert(self.collection, [row], timeout=self._spec.timeout_s)

    def _open(self) -> bool:
        with translated(f"cannot open {self.collection}"):
            if not self._ready and self._client.has_collection(
                self.collection, timeout=self._spec.timeout_s
            ):
                if not self._client.list_indexes(self.collection):
                    self._index()  # a run died between creating and indexing
                self._client.load_collection(self.collection, timeout=self._spec.build_timeout_s)
                self._ready = True
        return self._ready

    def _create(self) -> None:
        if self._open():
            return
        with translated(f"cannot create {self.collection}"):
            self._client.create_collection(
                self.collection, schema=record_schema(), timeout=self._spec.timeout_s
            )
        self._open()

    def _index(self) -> None:
        params = self._client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type="COSINE")
        self._client.create_index(
            self.collection, params, sync=False, timeout=self._spec.build_timeout_s
        )


def _piece(version: str, digest: str, number: int) -> str:
    return f"{version}/{digest}/{number:04d}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
