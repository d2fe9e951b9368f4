"""Cuts texts into passages and sentences, as character spans measured in the encoder's tokens.

sentencex (Wikimedia; rules for 240 languages, offsets in characters) finds sentences,
semantic-text-splitter passages, with the encoder's tokenizer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

import sentencex  # type: ignore[import-untyped]
from semantic_text_splitter import TextSplitter

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.encoder.tokenizer import TextTokenizer, clean
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import Encoder
from mrag_pipeline.settings.chunking import ChunkingSpec

# Both libraries take more than linear time for a text without breaks (90,000 Chinese characters
# took the splitter 55 s, 200,000 characters of short sentences took sentencex 12 s). So they get
# a text in blocks; the splitter gets only as many chunks' worth as it needs.
SENTENCE_BLOCK_CHARS = 4_000
BLOCK_CHUNKS = 4
# The rules for texts of unknown language; they include CJK and Indic full stops.
LANGUAGE = "en"

_BREAKS = tuple(map(re.compile, (r"\n\s*\n", r"\n", r"[.!?。！？।]\s*", r"\s")))

_BREAK = re.compile(r"[\s.!?。！？।]")


class TokenizingEncoder(Encoder, Protocol):
    """An encoder, and what it cuts texts into tokens with."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""


class TokenSegmenter:
    """A `Segmenter` over an encoder's tokenizer."""

    def __init__(
        self, tokenizer: TextTokenizer, chunking: ChunkingSpec, room: int = sys.maxsize
    ) -> None:
        """Loads the splitter.

        Args:
            room: how many tokens of a text the encoder reads.
        Raises: ConfigError if chunks would overlap completely.
        """
        if not 0 <= chunking.overlap_tokens < chunking.max_tokens:
            raise ConfigError(
                f"chunks of {chunking.max_tokens} tokens that overlap by {chunking.overlap_tokens}",
                "an overlap from 0 to less than a chunk",
                "change `chunking.overlap_tokens` or `chunking.max_tokens`",
            )
        self._backend = tokenizer.plain_backend()
        self._chunking = chunking
        self._max_block_chars = 2 * chunking.max_chars()
        self._splitter = TextSplitter.from_huggingface_tokenizer(
            self._backend, chunking.max_tokens, overlap=chunking.overlap_tokens
        )

        self._room = room

    def room(self) -> int:
        """How many tokens of a text are embedded."""
        return self._room

    def passages(self, text: str) -> list[Span]:
        """Spans that fit a chunk, cut at paragraphs, then sentences, then words, with overlap."""
        text = clean(text)
        spans: list[Span] = []
        start = 0
        block_chars = self._max_block_chars
        while start < len(text):
            end = _block_end(text, start, block_chars)
            block_spans = self._cut(text, start, end)
            if end < len(text) and len(block_spans) < 2 and block_chars < self._max_block_chars:
                block_chars = min(2 * block_chars, self._max_block_chars)
                continue
            if block_spans:
                chunk_chars = (block_spans[-1][1] - block_spans[0][0]) // len(block_spans) + 1
                block_chars = min(BLOCK_CHUNKS * chunk_chars, self._max_block_chars)
            # The end of the block may have shortened its last chunk: cut it again.
            if end < len(text) and len(block_spans) > 1 and block_spans[-1][0] > start:
                end = block_spans.pop()[0]
            spans += block_spans
            start = end
        return _advancing(spans)

    def sentences(self, text: str) -> list[Span]:
        """The sentences of a text in any language, in order, none empty."""
        text = clean(text)
        return list(_trimmed(text, _sentences(text)))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without special tokens."""
        encoded = self._backend.encode_batch(
            [clean(text) for text in texts], add_special_tokens=False
        )
        return [len(encoding.ids) for encoding in encoded]

    def _cut(self, text: str, start: int, end: int) -> list[Span]:
        block = text[start:end]
        if not _BREAK.search(block):
            return [(start + begin, start + end) for begin, end in self._cut_by_tokens(block)]
        return [
            (start + offset, start + offset + len(chunk))
            for offset, chunk in self._splitter.chunk_indices(block)
        ]

    def _cut_by_tokens(self, block: str) -> list[Span]:
        """For a block without word boundaries, where the splitter's search would waste time."""
        max_tokens = self._chunking.max_tokens
        starts = [
            begin for begin, _ in self._backend.encode(block, add_special_tokens=False).offsets
        ]
        firsts = range(0, max(1, len(starts)), max_tokens - self._chunking.overlap_tokens)
        spans = []
        for first in firsts:
            begin = starts[first] if first else 0
            last = first + max_tokens
            spans.append((begin, starts[last] if last < len(starts) else len(block)))
            if last >= len(starts):
                break
        # A span by itself may have more tokens than it had within the block.
        return [half for span in spans for half in self._halved(block, span)]

    def _halved(self, block: str, span: Span) -> list[Span]:
        start, end = span
        if end - start < 2 or self.count_tokens([block[start:end]])[0] <= self._chunking.max_tokens:
            return [span]
        middle = (start + end) // 2
        return self._halved(block, (start, middle)) + self._halved(block, (middle, end))


def open_segmenter(encoder: TokenizingEncoder, chunking: ChunkingSpec) -> TokenSegmenter:
    """The segmenter of an encoder.

    Raises: ConfigError if chunks would overlap completely, or be longer than the encoder reads.
    """
    card = encoder.card
    special = encoder.tokenizer.num_special
    if chunking.max_tokens + special > card.max_tokens:
        raise ConfigError(
            f"chunks of {chunking.max_tokens} tokens for an encoder that reads {card.max_tokens}, "
            f"{special} of them special",
            f"chunking.max_tokens of {card.max_tokens - special} or less: the rest of a chunk "
            "would not be embedded",
            "make chunks shorter, or raise encoder.max_tokens if the model can read longer texts",
        )
    room = card.max_tokens - special
    if card.spec.document_prefix:
        plain = encoder.tokenizer.plain_backend()
        room -= len(plain.encode(card.spec.document_prefix, add_special_tokens=False).ids)
    return TokenSegmenter(encoder.tokenizer, chunking, room)


def _sentences(text: str) -> Iterator[Span]:
    start = 0
    while start < len(text):
        end = _block_end(text, start, SENTENCE_BLOCK_CHARS)
        for boundary in sentencex.get_sentence_boundaries(LANGUAGE, text[start:end]):
            yield start + boundary["start_index"], start + boundary["end_index"]
        start = end


def _block_end(text: str, start: int, size: int) -> int:
    """The end of a block from `start`: the last good break in its second half, if there is one."""
    if start + size >= len(text):
        return len(text)
    tail = text[start + size // 2 : start + size]
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(tail)]
        if ends:
            return start + size // 2 + ends[-1]
    return start + size


def _advancing(spans: list[Span]) -> list[Span]:
    """The spans that end after all before them; with overlap the splitter also makes others."""
    advancing: list[Span] = []
    for span in spans:
        if not advancing or span[1] > advancing[-1][1]:
            advancing.append(span)
    return advancing


def _trimmed(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    for start, end in spans:
        piece = text[start:end]
        if stripped := piece.strip():
            begin = start + len(piece) - len(piece.lstrip())
            yield begin, begin + len(stripped)
