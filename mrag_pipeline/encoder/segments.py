"""Texts cut by the encoder's own tokens: passages and sentences, as character spans.

Sentences come from sentencex (Wikimedia; rules of 240 languages, offsets in characters),
passages from semantic-text-splitter over the encoder's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import sentencex  # type: ignore[import-untyped]
from semantic_text_splitter import TextSplitter

from mrag_pipeline.domain.chunking import ChunkingSpec, Span
from mrag_pipeline.encoder.tokenizer import TextTokenizer, clean
from mrag_pipeline.encoder.transformer import TransformerEncoder
from mrag_pipeline.errors import ConfigError

# Both libraries take more than linear time in a text without breaks (90,000 Chinese
# characters took the splitter 55 s, 200,000 of short sentences sentencex 12 s), so they
# see a text in blocks.
BLOCK_CHARS = 4_000
# The rules used where nothing is known of the language; they know CJK and Indic stops too.
LANGUAGE = "en"

_BREAKS = tuple(map(re.compile, (r"\n\s*\n", r"\n", r"[.!?。！？।]\s*", r"\s")))


class TokenSegmenter:
    """A `Segmenter` over an encoder's tokenizer."""

    def __init__(self, tokenizer: TextTokenizer, chunking: ChunkingSpec) -> None:
        if not 0 <= chunking.overlap_tokens < chunking.max_tokens:
            raise ConfigError(
                f"chunks of {chunking.max_tokens} tokens that overlap by {chunking.overlap_tokens}",
                "an overlap from 0 to less than a chunk",
                "change `chunking.overlap_tokens` or `chunking.max_tokens`",
            )
        self._backend = tokenizer.plain_backend()
        self._max_chars = chunking.max_chars()
        self._splitter = TextSplitter.from_huggingface_tokenizer(
            self._backend, chunking.max_tokens, overlap=chunking.overlap_tokens
        )

    def passages(self, text: str) -> list[Span]:
        """Spans that fit a chunk, cut at paragraphs, then sentences, then words, with overlap."""
        text = clean(text)
        spans: list[Span] = []
        at = 0
        block_chars = max(BLOCK_CHARS, 2 * self._max_chars)
        while at < len(text):
            end = _block_end(text, at, block_chars)
            found = [
                (at + start, at + start + len(piece))
                for start, piece in self._splitter.chunk_indices(text[at:end])
            ]
            # A block's last chunk is only as long as the block let it be: cut it again.
            if end < len(text) and len(found) > 1 and found[-1][0] > at:
                end = found.pop()[0]
            spans += found
            at = end
        return spans

    def sentences(self, text: str) -> list[Span]:
        """The sentences of a text, in order; any language; no empty one."""
        text = clean(text)
        return list(_trimmed(text, _sentences(text)))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special tokens not counted."""
        encoded = self._backend.encode_batch(
            [clean(text) for text in texts], add_special_tokens=False
        )
        return [len(each.ids) for each in encoded]


def open_segmenter(encoder: TransformerEncoder, chunking: ChunkingSpec) -> TokenSegmenter:
    """The segmenter of an encoder.

    Raises: ConfigError if chunks would overlap entirely, or be longer than the encoder reads.
    """
    return TokenSegmenter(encoder.tokenizer, chunking)


def _sentences(text: str) -> Iterator[Span]:
    at = 0
    while at < len(text):
        end = _block_end(text, at, BLOCK_CHARS)
        for boundary in sentencex.get_sentence_boundaries(LANGUAGE, text[at:end]):
            yield at + boundary["start_index"], at + boundary["end_index"]
        at = end


def _block_end(text: str, start: int, size: int) -> int:
    """Where a block from `start` ends: at the last good break in its second half, if any."""
    if start + size >= len(text):
        return len(text)
    tail = text[start + size // 2 : start + size]
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(tail)]
        if ends:
            return start + size // 2 + ends[-1]
    return start + size


def _trimmed(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    for start, end in spans:
        piece = text[start:end]
        if stripped := piece.strip():
            begin = start + len(piece) - len(piece.lstrip())
            yield begin, begin + len(stripped)
