"""A version's documents, compared from disk as they would be in memory."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline.errors import StorageFull
from mrag_pipeline.ports import Mark
from mrag_pipeline.stages.sync import known_documents
from mrag_pipeline.stages.sync.known_documents import KnownDocuments, LookedUp

ODD = ["", "ünïcödé 文書 𝄞", "\udcff", "a\nb", "x" * 70_000]


@pytest.fixture(params=[10**6, 7])
def _rows_in_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in memory, or little of it."""
    monkeypatch.setattr(known_documents, "_ROWS_IN_MEMORY", request.param)
    monkeypatch.setattr(known_documents, "_NEW_IN_MEMORY", request.param)


def marks_of(fingerprints: dict[str, str], rng: random.Random) -> list[list[Mark]]:
    """One to three chunks of each document, in blocks, in any order."""
    marks = [
        Mark(rng.randrange(2**62), document_id, fingerprint)
        for document_id, fingerprint in fingerprints.items()
        for _ in range(rng.randint(1, 3))
    ]
    rng.shuffle(marks)
    return [marks[at : at + 20] for at in range(0, len(marks), 20)]


@pytest.mark.usefixtures("_rows_in_memory")
@pytest.mark.parametrize("seed", range(5))
def test_it_answers_as_a_dictionary_does(seed: int) -> None:
    """Equal, other, unknown; seen once or again; what is left over."""
    rng = random.Random(seed)
    fingerprints = {f"d{number}": f"print {number % 7}" for number in range(300)}
    fingerprints |= {name: f"odd {name[:9]!r}" for name in ODD}
    in_memory = LookedUp(fingerprints)
    with closing(KnownDocuments()) as known:
        for block in marks_of(fingerprints, rng):
            known.add(block)
        known.settle()
        assert len(known) == len(fingerprints)
        asked = [*fingerprints, *(f"new{number}" for number in range(60))]
        seen = rng.choices(asked, k=250)
        for document_id in seen:
            assert (document_id in known) == (document_id in fingerprints)
            fingerprint = rng.choice([fingerprints.get(document_id, ""), "another"])
            assert known.is_equal(document_id, fingerprint) == in_memory.is_equal(
                document_id, fingerprint
            )
            assert known.see(document_id) == in_memory.see(document_id)
        assert known.num_seen == in_memory.num_seen == len(set(seen))
        left = set(fingerprints) - set(seen)
        assert (known.num_unseen, set(known.unseen())) == (len(left), left)


@pytest.mark.usefixtures("_rows_in_memory")
def test_a_document_whose_chunks_disagree_is_changed() -> None:
    """Within a block, or in two; so is one that has no fingerprint."""
    with closing(KnownDocuments()) as known:
        known.add([Mark(1, "a", "one"), Mark(2, "b", "one"), Mark(3, "b", "two")])
        known.add([Mark(4, "a", "two"), Mark(5, "c", "")])
        known.settle()
        assert len(known) == 3
        every = ("a", "b", "c")
        assert not any(known.is_equal(i, text) for i in every for text in ("one", "two", ""))


def test_an_empty_version_knows_nothing() -> None:
    """And what is new is seen once."""
    with closing(KnownDocuments()) as known:
        known.settle()
        assert (len(known), known.num_unseen, list(known.unseen())) == (0, 0, [])
        assert known.is_equal("a", "one") is None
        assert [known.see("a"), known.see("a"), known.num_seen] == [True, False, 1]


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what was not written yet is written as the block ends."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which Linux has")
    monkeypatch.setattr(KnownDocuments, "_file", lambda *_: Path("/dev/full"))

    def fill() -> None:
        with closing(KnownDocuments()) as known:
            known.add([Mark(number, f"document {number}", "print") for number in range(2_000)])
            known.settle()

    with pytest.raises(StorageFull, match="for the ids of the version's documents"):
        fill()
