"""The keys of pushed changes, as a version's record remembers them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from mrag_pipeline.domain.documents import text_hash
from mrag_pipeline.errors import FingerprintMismatch

MAX_KEYS = 1_000  # 33 bytes each in the record
_HASH_CHARS = 16


class ChangesDigest:
    """Digests changes in their order: the same changes give the same digest, on every machine."""

    def __init__(self, deleted: Iterable[str]) -> None:
        """Begins with the ids to delete."""
        self._hash = hashlib.blake2b(digest_size=_HASH_CHARS // 2)
        self._add(["delete", *sorted(deleted)])

    def add(self, document_id: str, fingerprint: str) -> None:
        """Adds a document."""
        self._add([document_id, fingerprint])

    def hexdigest(self) -> str:
        """16 hex digits."""
        return self._hash.hexdigest()

    def _add(self, parts: Sequence[str]) -> None:
        self._hash.update(json.dumps(parts).encode() + b"\n")


def key_entry(key: str, digest: str) -> str:
    """What the record keeps of a push with a key; "" for one without.

    Args:
        digest: of the changes.
    """
    return f"{text_hash(key)[:_HASH_CHARS]}:{digest}" if key else ""


def is_repeated(keys: Iterable[str], entry: str) -> bool:
    """Whether the push is one of those that were applied.

    Args:
        keys: of the record; entry: of `key_entry`.
    Raises: FingerprintMismatch if its key was used for other changes.
    """
    if not entry:
        return False
    key_hash, _, _ = entry.partition(":")
    for known in keys:
        if known == entry:
            return True
        if known.startswith(f"{key_hash}:"):
            raise FingerprintMismatch(
                "the key was used before, for other changes",
                "the same changes each time that a key is sent",
                "use a new key for new changes",
            )
    return False


def remembered(keys: Sequence[str], entry: str) -> tuple[str, ...]:
    """The keys with one more, the oldest left out beyond `MAX_KEYS`."""
    return (*keys, entry)[-MAX_KEYS:] if entry and entry not in keys else tuple(keys)
