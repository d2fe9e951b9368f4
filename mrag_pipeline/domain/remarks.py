"""What a run tells of documents that it did not take whole: a text, and of how many documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping

MAX_TEXTS = 100  # kept apart: a corpus of random keys must not fill a receipt
OTHERS = "other remarks"


def add_remarks(counts: MutableMapping[str, int], texts: Iterable[str]) -> None:
    """Counts a document's remarks, each once."""
    for text in set(texts):
        add_counts(counts, {text: 1})


def add_counts(counts: MutableMapping[str, int], more: Mapping[str, int]) -> None:
    """Adds other counts; a text beyond the first hundred counts among the others."""
    for text, number in more.items():
        kept = text if text in counts or len(counts) < MAX_TEXTS else OTHERS
        counts[kept] = counts.get(kept, 0) + number
