"""What a run tells of how it read the corpus, and of documents that it did not take whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping

MAX_TEXTS = 100  # kept apart: a corpus of random keys must not fill a receipt
MAX_NAMES = 20  # of fields of one type
OTHERS = "other remarks"
REPLACED = "replaced by a later document of the same id"


def types_told(types: Mapping[str, str]) -> str:
    """Which fields are read as what: `boolean: 'flag', number: 'year', 'price'`; "" for none.

    Args:
        types: of metadata fields, by name.
    """
    parts = []
    for kind in sorted(set(types.values())):
        names = [repr(name) for name, of in sorted(types.items()) if of == kind]
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        parts.append(f"{kind}: {', '.join(names[:MAX_NAMES])}{more}")
    return ", ".join(parts)


def add_remarks(counts: MutableMapping[str, int], texts: Iterable[str]) -> None:
    """Counts a document's remarks, each once."""
    for text in set(texts):
        add_counts(counts, {text: 1})


def add_counts(counts: MutableMapping[str, int], more: Mapping[str, int]) -> None:
    """Adds other counts; a text beyond the first hundred counts among the others."""
    for text, number in more.items():
        kept = text if text in counts or len(counts) < MAX_TEXTS else OTHERS
        counts[kept] = counts.get(kept, 0) + number
