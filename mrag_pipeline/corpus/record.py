"""A record as its file holds it, and the dead letter for one that cannot be a document.

Knows nothing of which field is the text; `field_mapping.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrag_pipeline.domain.documents import DeadLetter, text_hash

_MAX_HASHED_BYTES = 1 << 20
_MAX_STORED_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Record:
    """One record as found: field names to plain Python values."""

    values: Mapping[str, object]
    source: str  # where it was found: "data/a.csv:12"
    remarks: tuple[str, ...] = ()  # what its file holds besides, in words to be counted


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a value that its file holds and Python cannot."""

    reason: str


def rejected(
    source: str, reason: str, data: bytes = b"", document_id: str = "", num_documents: int = 1
) -> DeadLetter:
    """A dead letter that can be stored anywhere: its fields are valid UTF-8 of bounded length."""
    digest = text_hash(data[:_MAX_HASHED_BYTES].decode("utf-8", "replace")) if data else ""
    named = (_storable(document_id), _storable(source), _storable(reason))
    return DeadLetter(*named, digest, num_documents)


def repaired(text: str) -> str:
    """The text as UTF-8 can hold it: half surrogate pairs replaced, NULs turned into spaces.

    Both come from careless extraction; they cost a character, not the document.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", " ")


def _storable(text: str) -> str:
    escaped = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    return escaped[:_MAX_STORED_CHARS]
