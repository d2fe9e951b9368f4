"""What the corpus holds, and the passages that are embedded.

Knows nothing of files, tokens or vectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

# What JSON can hold: null only within lists.
MetadataValue: TypeAlias = (
    "str | int | float | bool | list[MetadataValue | None] | dict[str, MetadataValue]"
)
Metadata = Mapping[str, MetadataValue]


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the corpus."""

    id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    source: str = ""  # where it was found: "file.jsonl:12", for people
    remarks: tuple[str, ...] = ()  # what was left out of it, in words to be counted


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A document that was set aside, and why."""

    document_id: str  # as found; may be empty
    source: str  # where it was found
    reason: str  # what was found, what was expected
    text_hash: str  # of what could be read, to find it again; may be empty
    num_documents: int = 1  # that it stands for: the rows that an open quote took in


@dataclass(frozen=True, slots=True)
class Chunk:
    """The passage that is embedded: `text[start:end]` of its document, in characters."""

    id: int
    document_id: str
    ordinal: int  # 0, 1, ... within the document
    start: int
    end: int
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    fingerprint: str = ""  # of its document: what a sync compares


def text_hash(text: str) -> str:
    """The same text gives the same 32 hex digits, on every machine."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def document_fingerprint(document: Document) -> str:
    """Changes when anything that is stored of the document changes. 32 hex digits."""
    # As JSON, so that parts cannot run into each other.
    parts = [document.id, document.title, document.text, sorted(document.metadata.items())]
    return text_hash(json.dumps(parts, sort_keys=True))


def chunk_id(document_id: str, start: int, end: int, text: str) -> int:
    """The same passage of the same document has the same id in every run.

    Returns: a positive int64 (63 bits of BLAKE2b), so it fits a primary key. Two
    passages share one with probability n^2 / 2^64; the run checks that none do.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (document_id, str(start), str(end), text):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return int.from_bytes(digest.digest(), "big") >> 1
