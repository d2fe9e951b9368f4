"""Texts cut, and texts made numbers.

Shape legend: N texts, H heads, D head dimension, E standard width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Role


class Segmenter(Protocol):
    """Texts cut by the encoder's own tokens."""

    def passages(self, text: str) -> list[Span]:
        """Spans that fit a chunk, cut at paragraphs, then sentences, then words, with overlap."""

    def sentences(self, text: str) -> list[Span]:
        """The sentences of a text, in order; any language; no empty one."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special tokens not counted."""

    def room(self) -> int:
        """How many tokens of a text are embedded: the encoder's limit without those it adds.

        It adds the document prefix and the special tokens.
        """


class Encoder(Protocol):
    """Texts to head embeddings, one forward pass."""

    @property
    def card(self) -> EncoderCard:
        """What the model is."""

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Head and standard embeddings, in the order of the texts, prefix of the role added.

        Returns: heads (N, H, D) float32, standard (N, E) float32 of unit length.
        """
