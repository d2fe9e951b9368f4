"""Texts cut by the encoder's own tokens: passages and sentences, as character spans.

Sentences come from sentencex (Wikimedia; rules of 240 languages, offsets in characters),
passages from semantic-text-splitter over the encoder's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import sentencex  # type: ignore[import-untyped]
from semantic_text_splitter import TextSplitter

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.encoder.tokenizer import TextTokenizer, clean
from mrag_pipeline.encoder.transformer import TransformerEncoder
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.chunking import ChunkingSpec

# Both libraries take more than linear time in a text without breaks (90,000 Chinese
# characters took the splitter 55 s, 200,000 of short sentences sentencex 12 s), so they
# see a text in blocks: the splitter as few chunks' worth as it needs.
SENTENCE_BLOCK_CHARS = 4_000
BLOCK_CHUNKS = 4
# The rules used where nothing is known of the language; they know CJK and Indic stops too.
LANGUAGE = "en"

_BREAKS = tuple(map(re.compile, (r"\n\s*\n", r"\n", r"[.!?。！？।]\s*", r"\s")))

_BREAK = re.compile(r"[\s.!?。！？।]")


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
        self._chunking = chunking
        self._most_block_chars = 2 * chunking.max_chars()
        self._splitter = TextSplitter.from_huggingface_tokenizer(
            self._backend, chunking.max_tokens, overlap=chunking.overlap_tokens
        )

    def passages(self, text: str) -> list[Span]:
        """Spans that fit a chunk, cut at paragraphs, then sentences, then words, with overlap."""
        text = clean(text)
        spans: list[Span] = []
        at = 0
        block_chars = self._most_block_chars
        while at < len(text):
            end = _block_end(text, at, block_chars)
            found = self._cut(text, at, end)
            if end < len(text) and len(found) < 2 and block_chars < self._most_block_chars:
                block_chars = min(2 * block_chars, self._most_block_chars)
                continue
            if found:
                chunk_chars = (found[-1][1] - found[0][0]) // len(found) + 1
                block_chars = min(BLOCK_CHUNKS * chunk_chars, self._most_block_chars)
            # A block's last chunk is only as long as the block let it be: cut it again.
            if end < len(text) and len(found) > 1 and found[-1][0] > at:
                end = found.pop()[0]
            spans += found
            at = end
        return _growing(spans)

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

    def _cut(self, text: str, start: int, end: int) -> list[Span]:
        block = text[start:end]
        if not _BREAK.search(block):
            return [(start + a, start + b) for a, b in self._cut_by_tokens(block)]
        return [
            (start + at, start + at + len(piece))
            for at, piece in self._splitter.chunk_indices(block)
        ]

    def _cut_by_tokens(self, block: str) -> list[Span]:
        """Where there are no words to keep whole, the splitter's search is wasted time."""
        longest = self._chunking.max_tokens
        starts = [
            begin for begin, _ in self._backend.encode(block, add_special_tokens=False).offsets
        ]
        firsts = range(0, max(1, len(starts)), longest - self._chunking.overlap_tokens)
        spans = []
        for first in firsts:
            begin = starts[first] if first else 0
            last = first + longest
            spans.append((begin, starts[last] if last < len(starts) else len(block)))
            if last >= len(starts):
                break
        # Cut from its neighbours a piece may have more tokens than it had among them.
        return [half for span in spans for half in self._halved(block, span)]

    def _halved(self, block: str, span: Span) -> list[Span]:
        start, end = span
        if end - start < 2 or self.count_tokens([block[start:end]])[0] <= self._chunking.max_tokens:
            return [span]
        middle = (start + end) // 2
        return self._halved(block, (start, middle)) + self._halved(block, (middle, end))


def open_segmenter(encoder: TransformerEncoder, chunking: ChunkingSpec) -> TokenSegmenter:
    """The segmenter of an encoder.

    Raises: ConfigError if chunks would overlap entirely, or be longer than the encoder reads.
    """
    card = encoder.card
    special = encoder.tokenizer.num_special
    if chunking.max_tokens + special > card.max_tokens:
        raise ConfigError(
            f"chunks of {chunking.max_tokens} tokens for an encoder that reads {card.max_tokens}, "
            f"{special} of them special",
            f"chunking.max_tokens of {card.max_tokens - special} or less: the rest of a chunk "
            "would not be embedded",
            "make chunks shorter, or raise encoder.max_tokens if the model can read more",
        )
    return TokenSegmenter(encoder.tokenizer, chunking)


def _sentences(text: str) -> Iterator[Span]:
    at = 0
    while at < len(text):
        end = _block_end(text, at, SENTENCE_BLOCK_CHARS)
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


def _growing(spans: list[Span]) -> list[Span]:
    """Without those that end no later than one before: with overlap the splitter makes some."""
    kept: list[Span] = []
    for span in spans:
        if not kept or span[1] > kept[-1][1]:
            kept.append(span)
    return kept


def _trimmed(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    for start, end in spans:
        piece = text[start:end]
        if stripped := piece.strip():
            begin = start + len(piece) - len(piece.lstrip())
            yield begin, begin + len(stripped)
