"""Turns a document and the spans of its text into chunks.

A `Segmenter`, which knows the encoder's tokens, chooses the spans; this module bounds and trims
them, and adds the title to what is embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mrag_pipeline.domain.documents import Chunk, Document, chunk_id, document_fingerprint
from mrag_pipeline.settings.chunking import ChunkingSpec

Span = tuple[int, int]  # [start, end) in characters


def chunks_of(document: Document, spans: Sequence[Span], spec: ChunkingSpec) -> Iterator[Chunk]:
    """The document's chunks, in order, none of them empty or longer than `spec.max_chars()`."""
    trimmed = _trimmed(document.text, _bounded(spans, spec.max_chars()))
    fingerprint = document_fingerprint(document)
    for ordinal, (start, end) in enumerate(trimmed):
        text = document.text[start:end]
        yield Chunk(
            id=chunk_id(document.id, start, end, text),
            document_id=document.id,
            ordinal=ordinal,
            start=start,
            end=end,
            text=text,
            title=document.title,
            metadata=document.metadata,
            fingerprint=fingerprint,
        )


def embedded_text(chunk: Chunk, spec: ChunkingSpec) -> str:
    """What the encoder reads for a chunk: its title first, if the spec says so."""
    if spec.title == "none" or not chunk.title.strip():
        return chunk.text
    return f"{chunk.title.strip()[: spec.max_title_chars]}\n{chunk.text}"


def fitted_text(chunk: Chunk, spec: ChunkingSpec, fits: Callable[[str], bool]) -> str:
    """What the encoder reads of a chunk whose title is too long: less of it, at last none."""
    num_chars = min(len(chunk.title.strip()), spec.max_title_chars) // 2
    while num_chars:
        text = embedded_text(chunk, replace(spec, max_title_chars=num_chars))
        if fits(text):
            return text
        num_chars //= 2
    return chunk.text


def _bounded(spans: Sequence[Span], max_chars: int) -> Iterator[Span]:
    for start, end in spans:
        for cut in range(start, end, max_chars):
            yield cut, min(cut + max_chars, end)


def _trimmed(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    for start, end in spans:
        piece = text[start:end]
        left = len(piece) - len(piece.lstrip())
        right = len(piece.rstrip())
        if right > left:
            yield start + left, start + right
