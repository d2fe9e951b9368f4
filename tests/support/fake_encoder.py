"""An encoder and a segmenter with no model: a text's vectors are sums of its words' own.

Texts that share words are near each other in every head; each head gives words another
vector and another weight, so that heads disagree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Head, Role
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec

_WORD = re.compile(r"\w+", re.UNICODE)
_SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？]+|[^.!?。！？\n]+")


class FakeEncoder:
    """Deterministic on every machine; numpy only."""

    def __init__(
        self,
        spec: EncoderSpec | None = None,
        *,
        num_heads: int = 4,
        head_dim: int = 8,
        standard_dim: int = 16,
    ) -> None:
        spec = spec or EncoderSpec(model="fake", max_tokens=256)
        self._card = EncoderCard(
            spec=spec,
            family="fake",
            weights_hash=hashlib.sha256(f"{num_heads}x{head_dim}".encode()).hexdigest(),
            heads=tuple(Head(0, head) for head in range(num_heads)),
            head_dim=head_dim,
            standard_dim=standard_dim,
            max_tokens=spec.max_tokens or 256,
            pooling="mean",
            standard_pooling="mean",
        )

    @property
    def card(self) -> EncoderCard:
        return self._card

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        spec, card = self._card.spec, self._card
        prefix = spec.query_prefix if role == "query" else spec.document_prefix
        num_heads = len(card.heads)
        heads = np.empty((len(texts), num_heads, card.head_dim), np.float32)
        standard = np.empty((len(texts), card.standard_dim), np.float32)
        lengths = np.empty(len(texts), np.int64)
        for row, text in enumerate(texts):
            words = ["", *words_of(prefix + text)][: card.max_tokens]
            lengths[row] = len(words)
            for head in range(num_heads):
                heads[row, head] = sum(word_vector(f"{head}/{w}", card.head_dim) for w in words)
            total = sum(word_vector(f"standard/{word}", card.standard_dim) for word in words)
            standard[row] = total / np.linalg.norm(total)
        return Embeddings(heads, standard, lengths)


class FakeSegmenter:
    """A token is a word; sentences end at a stop or a line's end."""

    def __init__(self, chunking: ChunkingSpec | None = None, max_tokens: int = 256) -> None:
        self._max_tokens = max_tokens
        self._chunking = replace(chunking) if chunking else ChunkingSpec()

    def passages(self, text: str) -> list[Span]:
        words = [match.span() for match in _WORD.finditer(text)]
        size, overlap = self._chunking.max_tokens, self._chunking.overlap_tokens
        if not text.strip():
            return []
        if len(words) <= size:
            return _stripped(text, 0, len(text))
        spans: list[Span] = []
        for first in range(0, len(words), size - overlap):
            last = min(first + size, len(words))
            end = words[last][0] if last < len(words) else len(text)
            spans += _stripped(text, words[first][0] if first else 0, end)
            if last == len(words):
                break
        return spans

    def sentences(self, text: str) -> list[Span]:
        return [
            span for match in _SENTENCE.finditer(text) for span in _stripped(text, *match.span())
        ]

    def room(self) -> int:
        return self._max_tokens - 1  # the fake encoder adds one word

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(words_of(text)) for text in texts]


def words_of(text: str) -> list[str]:
    return [match.group().lower() for match in _WORD.finditer(text)]


@cache
def word_vector(word: str, dim: int) -> NDArray[np.float64]:
    """The same on every machine: numbers in [-1, 1) from a hash, times a weight in [0.5, 1.5)."""
    digest = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(4 * dim + 4)
    numbers = np.frombuffer(digest, "<u4").astype(np.float64) / 2**32
    vector: NDArray[np.float64] = (2 * numbers[:-1] - 1) * (0.5 + numbers[-1])
    return vector


def _stripped(text: str, start: int, end: int) -> list[Span]:
    piece = text[start:end]
    if not piece.strip():
        return []
    begin = start + len(piece) - len(piece.lstrip())
    return [(begin, begin + len(piece.strip()))]
