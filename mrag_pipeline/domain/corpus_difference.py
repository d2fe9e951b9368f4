"""The difference between a corpus and a version, and the fingerprint of a sync."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CorpusDifference:
    """The corpus against a version, in documents."""

    added: int
    changed: int
    removed: int
    unchanged: int
    num_dead_letters: int  # duplicates counted

    @property
    def is_empty(self) -> bool:
        """Whether the version already holds the corpus."""
        return not (self.added or self.changed or self.removed)


def delta_fingerprint(version: str, number: int, parts: Iterable[str], removed: list[int]) -> str:
    """Changes when anything that the sync will do changes. 32 hex digits.

    Args:
        version: the fingerprint of the version that is synced.
        number: of the sync, from 1.
        parts: the digests of the documents to embed.
        removed: the chunk ids to remove.
    """
    encoded = json.dumps([version, number, list(parts), sorted(removed)]).encode()
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
