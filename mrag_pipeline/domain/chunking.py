"""Documents to chunks: how long, with how much overlap, with or without the title.

The cutting itself is a `Segmenter`'s (it knows the encoder's tokens); here is what is done
with the spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.domain.documents import Chunk, Document, chunk_id, document_fingerprint

Span = tuple[int, int]  # [start, end) in characters

# A tokenizer may turn a very long run of characters into one unknown token; a chunk is
# never longer than this many characters per token it may have.
MAX_CHARS_PER_TOKEN = 16
# Milvus VARCHAR holds 65,535 bytes; a character is at most 4.
MAX_CHUNK_CHARS = 16_000


@dataclass(frozen=True, slots=True)
class ChunkingSpec:
    """How documents are cut."""

    max_tokens: int = 128  # a chunk's text, special tokens and title not counted
    overlap_tokens: int = 0  # how much of a chunk the next one repeats
    title: Literal["prefix", "none"] = "prefix"  # whether the title is embedded with each chunk
    max_title_chars: int = 120

    def max_chars(self) -> int:
        """The longest chunk, in characters."""
        return min(self.max_tokens * MAX_CHARS_PER_TOKEN, MAX_CHUNK_CHARS)


def chunks_of(document: Document, spans: Sequence[Span], spec: ChunkingSpec) -> Iterator[Chunk]:
    """The document's chunks, in order, none of them empty or longer than `spec.max_chars()`."""
    kept = _trimmed(document.text, _bounded(spans, spec.max_chars()))
    fingerprint = document_fingerprint(document)
    for ordinal, (start, end) in enumerate(kept):
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
