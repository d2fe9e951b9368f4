"""The difference between a corpus and a version, and the fingerprint of a sync."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
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


def delta_fingerprint(
    version: str, number: int, parts: Iterable[str], removed: Iterable[Sequence[int]]
) -> str:
    """Changes when anything that the sync will do changes. 32 hex digits.

    Args:
        version: the fingerprint of the version that is synced.
        number: of the sync, from 1.
        parts: the digests of the documents to embed.
        removed: the chunk ids to remove, rising, in blocks.
    """
    # As one list of JSON, which is not held: `[version, number, [parts], [removed]]`.
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([version, number, list(parts)])[:-1].encode() + b", [")
    separator = ""
    for block in removed:
        if len(block):
            digest.update((separator + ", ".join(map(str, block))).encode())
            separator = ", "
    digest.update(b"]]")
    return digest.hexdigest()
