"""What proves a chunk's rows: hashes of its chunks row and of each of its vectors.

Computed where the chunk is embedded and kept in its chunks row. A proof holds, as base64 after a
letter for its form, 8 bytes of the row and 4 of each vector: the standard one, then the heads in
their order. It finds damage by chance; whoever can write rows can write proofs too.
Shape legend: N chunks, V = 1 + H vectors of each, D a vector's width.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk, text_hash

PROOF = "proof"  # the field of a chunks row, and the column of a staged table
UNPROVEN = ""  # in place of a proof: the row was written before there were any
_FORM = "a"
_ROW_BYTES, _VECTOR_BYTES = 8, 4


@dataclass(frozen=True, slots=True, eq=False)
class Proofs:
    """The proofs of N chunks, read."""

    rows: NDArray[np.uint64]  # (N,): hashes of the chunks rows
    vectors: NDArray[np.uint32]  # (N, V): hashes of the standard vector and of each head's
    is_proven: NDArray[np.bool_]  # (N,): whether there is a proof of a form that is known
    is_damaged: NDArray[np.bool_]  # (N,): whether what stands there is no proof at all

    def chosen(self, is_chosen: NDArray[np.bool_]) -> Proofs:
        """Those of some of the chunks.

        Args:
            is_chosen: (N,).
        """
        return Proofs(
            self.rows[is_chosen],
            self.vectors[is_chosen],
            self.is_proven[is_chosen],
            self.is_damaged[is_chosen],
        )


def row_hash(chunk: Chunk) -> int:
    """64 bits that change when anything that is stored of the chunk changes, vectors apart."""
    parts = [
        *(chunk.id, chunk.document_id, chunk.ordinal, chunk.start, chunk.end),
        *(chunk.title, chunk.text, chunk.fingerprint, _plain(chunk.metadata)),
    ]
    return int(text_hash(json.dumps(parts, sort_keys=True))[: 2 * _ROW_BYTES], 16)


def vector_hashes(vectors: NDArray[np.floating[Any]]) -> NDArray[np.uint32]:
    """(N, ..., D) to (N, ...): 32 bits each, of the vectors' bits as float32.

    Multilinear hashing: two different vectors have the same hash with probability 2^-32.
    Source: Lemire and Kaser, Strongly universal string hashing is fast, arXiv 1202.4961.
    """
    words = np.ascontiguousarray(vectors, dtype="<f4").view("<u4")
    keys = _keys(words.shape[-1] + 1)
    sums = words.astype(np.uint64) @ keys[1:] + keys[0]  # modulo 2^64
    hashes: NDArray[np.uint32] = (sums >> np.uint64(32)).astype(np.uint32)
    return hashes


def proofs_of(
    chunks: Sequence[Chunk],
    standard: NDArray[np.floating[Any]],
    heads: NDArray[np.floating[Any]],
) -> list[str]:
    """The proof of each of N chunks.

    Args:
        standard: (N, E), as stored.
        heads: (N, H, D), as stored.
    """
    vectors = np.concatenate([vector_hashes(standard)[:, None], vector_hashes(heads)], axis=1)
    return [
        _FORM
        + base64.b64encode(
            row_hash(chunk).to_bytes(_ROW_BYTES, "big") + hashes.astype(">u4").tobytes()
        ).decode()
        for chunk, hashes in zip(chunks, vectors, strict=True)
    ]


def read_proofs(texts: Sequence[str], num_vectors: int) -> Proofs:
    """What the N proofs say; nothing about those that are missing or of a later form."""
    size = _ROW_BYTES + _VECTOR_BYTES * num_vectors
    content = np.zeros((len(texts), size), np.uint8)
    is_proven = np.zeros(len(texts), bool)
    is_damaged = np.zeros(len(texts), bool)
    for number, text in enumerate(texts):
        if text == UNPROVEN or (text[0] != _FORM and text[0].isascii() and text[0].isalpha()):
            continue
        raw = _decoded(text)
        if len(raw) != size:
            is_damaged[number] = True
            continue
        content[number] = np.frombuffer(raw, np.uint8)
        is_proven[number] = True
    rows = np.ascontiguousarray(content[:, :_ROW_BYTES]).view(">u8")[:, 0].astype(np.uint64)
    vectors = np.ascontiguousarray(content[:, _ROW_BYTES:]).view(">u4").astype(np.uint32)
    return Proofs(rows, vectors, is_proven, is_damaged)


def _decoded(text: str) -> bytes:
    if text[0] != _FORM:
        return b""
    try:
        return base64.b64decode(text[1:], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _keys(number: int) -> NDArray[np.uint64]:
    """The first keys of a stream that is the same on every machine, and never changes."""
    stream = hashlib.shake_256(b"mrag: a vector's hash").digest(8 * number)
    return np.frombuffer(stream, "<u8").astype(np.uint64)


def _plain(value: Any) -> Any:
    """The value as any store gives it back: 1.0 may become 1 on its way through JSON."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
