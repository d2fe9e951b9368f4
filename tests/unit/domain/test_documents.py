"""Ids and fingerprints of what the corpus holds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.documents import Document, chunk_id, document_fingerprint, text_hash

DOCUMENT = Document("a", "Some text.", "Title", {"year": 2024}, "a.jsonl:1")


def test_a_chunk_id_never_changes() -> None:
    """Pinned: another value would orphan every row of every index that exists."""
    assert chunk_id("gzip.open", 0, 10, "Open a file") == 8333774606813186806


@given(st.text(), st.integers(0, 2**40), st.integers(0, 2**40), st.text())
def test_a_chunk_id_fits_a_primary_key(document: str, start: int, end: int, text: str) -> None:
    """Any text, surrogates and NUL among them, gives a number from 0 below 2^63."""
    assert 0 <= chunk_id(document, start, end, text) < 2**63


def test_a_chunk_id_depends_on_all_its_parts() -> None:
    """Parts cannot run into each other: each is hashed with its length."""
    ids = {
        chunk_id("a", 1, 2, "x"),
        chunk_id("b", 1, 2, "x"),
        chunk_id("a", 0, 2, "x"),
        chunk_id("a", 1, 3, "x"),
        chunk_id("a", 1, 2, "y"),
        chunk_id("a1", 1, 2, "x"),
        chunk_id("a", 11, 2, "x"),
        chunk_id("a", 1, 12, "x"),
        chunk_id("a", 1, 2, "2x"),
    }
    assert len(ids) == 9


def test_a_fingerprint_sees_everything_that_is_stored() -> None:
    """Id, title, text and metadata count; where the document was found does not."""
    seen = {
        document_fingerprint(document)
        for document in (
            DOCUMENT,
            replace(DOCUMENT, id="b"),
            replace(DOCUMENT, title="Other"),
            replace(DOCUMENT, text="Other."),
            replace(DOCUMENT, metadata={"year": 2025}),
            replace(DOCUMENT, metadata={"year": "2024"}),
            replace(DOCUMENT, metadata={}),
        )
    }
    assert len(seen) == 7
    assert document_fingerprint(replace(DOCUMENT, source="b")) == document_fingerprint(DOCUMENT)


def test_a_fingerprint_ignores_the_order_of_the_metadata() -> None:
    """Two readers may give the same fields in another order."""
    first = replace(DOCUMENT, metadata={"a": 1, "b": 2})
    second = replace(DOCUMENT, metadata={"b": 2, "a": 1})
    assert document_fingerprint(first) == document_fingerprint(second)


def test_parts_of_a_fingerprint_cannot_run_into_each_other() -> None:
    """Two documents that differ only in where the title ends are two documents."""
    first = Document("a", "z", "x\x1fy")
    second = Document("a", "y\x1fz", "x")
    assert document_fingerprint(first) != document_fingerprint(second)


def test_a_text_hash_takes_any_text() -> None:
    """32 hex digits, for a lone surrogate too."""
    assert len(text_hash("\ud800")) == 32
    assert text_hash("a") != text_hash("b")
