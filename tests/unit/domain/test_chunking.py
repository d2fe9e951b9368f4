"""A document's spans become its chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.chunking import Span, chunks_of, embedded_text
from mrag_pipeline.domain.documents import Document, chunk_id
from mrag_pipeline.settings.chunking import MAX_CHUNK_CHARS, ChunkingSpec

SPEC = ChunkingSpec()


def document(text: str, title: str = "") -> Document:
    return Document("d", text, title, {"year": 2024})


def test_a_chunk_is_its_span_of_the_document() -> None:
    """Text, position, id, title and metadata are the chunk's; ordinals count from 0."""
    chunks = list(chunks_of(document("One. Two.", "T"), [(0, 4), (5, 9)], SPEC))
    assert [(c.ordinal, c.start, c.end, c.text) for c in chunks] == [
        (0, 0, 4, "One."),
        (1, 5, 9, "Two."),
    ]
    assert chunks[1].id == chunk_id("d", 5, 9, "Two.")
    assert chunks[1].title == "T"
    assert chunks[1].metadata == {"year": 2024}


def test_white_space_around_a_span_is_left_out() -> None:
    """Start and end move with it, so that text[start:end] is the chunk."""
    [chunk] = chunks_of(document("  \n word \t"), [(0, 10)], SPEC)
    assert (chunk.start, chunk.end, chunk.text) == (4, 8, "word")


@pytest.mark.parametrize("text", ["", "   ", "\n\t\u2003"])
def test_a_blank_text_has_no_chunk(text: str) -> None:
    """Empty spans and spans of white space are skipped."""
    assert list(chunks_of(document(text), [(0, len(text))], SPEC)) == []


def test_a_span_that_is_too_long_is_cut() -> None:
    """A run of characters that a tokenizer sees as one token still fits the index's field."""
    spec = ChunkingSpec(max_tokens=2)
    chunks = list(chunks_of(document("x" * 70), [(0, 70)], spec))
    assert [len(c.text) for c in chunks] == [32, 32, 6]


def test_no_chunk_outgrows_the_index() -> None:
    """Whatever the tokens, a chunk stays within Milvus's text field."""
    assert replace(SPEC, max_tokens=100_000).max_chars() == MAX_CHUNK_CHARS
    assert MAX_CHUNK_CHARS * 4 <= 65_535


@given(
    st.text(alphabet="ab \n\u00a0é𝄞", max_size=80),
    st.lists(st.integers(0, 80), max_size=6).map(sorted),
)
def test_chunks_are_exact_slices_in_order(text: str, cuts: list[int]) -> None:
    """Together they hold every character that is not white space, once."""
    ends = [min(cut, len(text)) for cut in cuts] + [len(text)]
    spans: list[Span] = list(zip([0, *ends], ends, strict=False))
    chunks = list(chunks_of(document(text), spans, ChunkingSpec(max_tokens=1)))
    assert all(text[c.start : c.end] == c.text == c.text.strip() != "" for c in chunks)
    assert [c.ordinal for c in chunks] == list(range(len(chunks)))
    held = [index for c in chunks for index in range(c.start, c.end)]
    assert held == sorted(set(held))
    assert {index for index, char in enumerate(text) if not char.isspace()} <= set(held)


def test_the_title_goes_before_the_text() -> None:
    """On a line of its own, cut to its limit; left out if it is blank or `title` is none."""
    [chunk] = chunks_of(document("text", " A long title "), [(0, 4)], SPEC)
    assert embedded_text(chunk, SPEC) == "A long title\ntext"
    assert embedded_text(chunk, ChunkingSpec(max_title_chars=6)) == "A long\ntext"
    assert embedded_text(chunk, ChunkingSpec(title="none")) == "text"
    assert embedded_text(replace(chunk, title="  "), SPEC) == "text"
