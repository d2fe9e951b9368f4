"""A bucket of hashes shows what a comparison of the documents themselves shows."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.ports import Mark
from mrag_pipeline.stages.sync.compared_rows import (
    CHANGED,
    NEW,
    OUT_OF_SCOPE,
    REPEATED,
    ROW,
    chunk_rows,
    compared,
    place_of,
    print_of,
    slices_of,
)


def document_rows(documents: list[tuple[str, str, int]], places: list[int]) -> np.ndarray:
    """Rows of documents: id, fingerprint, length."""
    rows = np.empty(len(documents), ROW)
    for row, (document_id, fingerprint, size), place in zip(rows, documents, places, strict=True):
        row["key"], row["print"] = text_key(document_id), print_of(fingerprint)
        row["place"], row["size"] = place, size
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_it_shows_what_dictionaries_show(seed: int) -> None:
    """New, changed, equal, gone, there again, out of scope; chunks that disagree; any order."""
    rng = random.Random(seed)
    ids = [f"d{number}" for number in range(rng.choice([0, 1, 12, 60]))]
    version = {name: f"print {rng.randrange(3)}" for name in ids if rng.random() < 0.7}
    marks = [
        Mark(rng.randrange(2**62), name, fingerprint)
        for name, fingerprint in version.items()
        for _ in range(rng.randint(1, 3))
    ]
    for torn in rng.sample(marks, k=len(marks) // 5):
        marks.append(Mark(rng.randrange(2**62), torn.document_id, "torn"))
        version[torn.document_id] = ""
    places = [place_of(*sorted_place) for sorted_place in places_of(rng)]
    documents = [
        (rng.choice(ids), f"print {rng.randrange(3)}", rng.choice([1, 9, OUT_OF_SCOPE]))
        for _ in places
        if ids
    ]
    places = places[: len(documents)]
    rows = np.concatenate([chunk_rows(marks), document_rows(documents, places)])
    order = list(range(len(rows)))
    rng.shuffle(order)
    found = compared(rows[order])

    firsts: dict[str, int] = {}
    kinds: dict[int, int] = {}
    for place, (name, fingerprint, size) in zip(places, documents, strict=True):
        if name in firsts:
            kinds[place] = REPEATED
            continue
        firsts[name] = place
        if size != OUT_OF_SCOPE and name not in version:
            kinds[place] = NEW
        elif size != OUT_OF_SCOPE and version[name] != fingerprint:
            kinds[place] = CHANGED
    assert dict(
        zip(found.changes["key"].tolist(), found.changes["kind"].tolist(), strict=True)
    ) == (kinds)
    gone = {mark.id for mark in marks if mark.document_id not in firsts}
    assert sorted(found.gone.tolist()) == sorted(gone)
    changed = {name for name, place in firsts.items() if kinds.get(place) == CHANGED}
    replaced = {mark.id for mark in marks if mark.document_id in changed}
    assert sorted(found.replaced.tolist()) == sorted(replaced)
    tally = found.tally
    assert (tally.known, tally.seen) == (len(version), len(firsts))
    assert tally.seen_known == len(firsts.keys() & version.keys())
    assert (tally.added, tally.changed, tally.repeated) == tuple(
        list(kinds.values()).count(kind) for kind in (NEW, CHANGED, REPEATED)
    )
    assert_occurrences(found.changes, documents, places)


def places_of(rng: random.Random) -> list[tuple[int, int, int]]:
    """Items, slices and rows, in the order of a corpus."""
    return sorted(
        {(rng.randrange(3), rng.randrange(4), rng.randrange(30)) for _ in range(rng.randint(0, 90))}
    )


def assert_occurrences(
    changes: np.ndarray, documents: list[tuple[str, str, int]], places: list[int]
) -> None:
    """Each change counts those of its id before it in its slice."""
    ids = dict(zip(places, (name for name, _, _ in documents), strict=True))
    for change in changes:
        own = int(change["key"])
        before = [
            place
            for place in places
            if place < own and place >> 30 == own >> 30 and ids[place] == ids[own]
        ]
        assert change["occurrence"] == len(before)


def test_places_rise_as_the_corpus_is_read() -> None:
    """By item, then slice, then row; and item and slice are told from them."""
    parts = [(0, 0, 0), (0, 0, 2**30 - 1), (0, 2_047, 0), (1, 0, 5), (4_000_000, 2_047, 7)]
    places = np.array([place_of(*part) for part in parts], np.int64)
    assert sorted(places.tolist()) == places.tolist()
    items, pieces = slices_of(places)
    assert list(zip(items.tolist(), pieces.tolist(), strict=True)) == [
        (item, piece) for item, piece, _ in parts
    ]
