"""What a sync allows itself, and what it found to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SyncSpec:
    """The `[sync]` part of the config file."""

    max_deleted_share: float = 0.2  # of the version's documents; more needs --allow-deletes
    min_deleted: int = 10  # the share is not judged below this many


@dataclass(frozen=True, slots=True)
class Difference:
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


def too_many_deleted(spec: SyncSpec, deleted: int, documents: int) -> bool:
    """Whether a sync would take away more than the spec allows.

    Args:
        documents: in the version before the sync.
    """
    if deleted < max(1, spec.min_deleted):
        return deleted == documents and documents > 0
    return deleted > spec.max_deleted_share * documents


def delta_fingerprint(version: str, number: int, parts: Iterable[str], removed: list[int]) -> str:
    """Changes when anything that a sync will do does. 32 hex digits.

    Args:
        version: the fingerprint of the version that is synced.
        number: of the sync, from 1.
        parts: the digests of the documents to embed.
        removed: the chunk ids to take away.
    """
    encoded = json.dumps([version, number, list(parts), sorted(removed)]).encode()
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
