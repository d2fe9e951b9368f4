"""A corpus and an encoder that cost next to nothing, so that benchmarks measure all the rest.

The encoder implements the Encoder port. It picks a text's vectors from fixed banks of random rows
by the text's hash, so a text has the same vectors on every machine. Texts share rows, so searches
find neighbours. A text takes about 4 microseconds at 12 heads x 32.
Shape legend: N texts, H heads, D head dimension, E standard width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Head, Role
from mrag_pipeline.ports import CorpusReader, Staging
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder
from mrag_pipeline.staging.shards import open_staging

CHUNKS_PER_DOCUMENT = 4
CHUNK_CHARS = 200
MAX_TOKENS = 256
_BANK = 1 << 14  # rows; a text is a sum of two of them
_WORDS = 1_024
_PHRASES, _PHRASE_WORDS = 4_096, 8


@dataclass(frozen=True)
class Shape:
    """The size of a chunk's vectors."""

    heads: int = 12
    dim: int = 32

    @property
    def standard(self) -> int:
        """Width of the standard vector: as in real models, that of all heads together."""
        return self.heads * self.dim


class SyntheticEncoder:
    """The Encoder port without a model."""

    def __init__(self, shape: Shape) -> None:
        random = np.random.default_rng(7)
        width = shape.heads * shape.dim
        self._shape = shape
        self._near = random.normal(size=(_BANK, width)).astype(np.float32)
        self._far = random.normal(size=(_BANK, width)).astype(np.float32) / 2
        self._card = EncoderCard(
            spec=EncoderSpec(model="synthetic", max_tokens=MAX_TOKENS),
            family="synthetic",
            weights_hash=hashlib.sha256(f"{shape.heads}x{shape.dim}".encode()).hexdigest(),
            heads=tuple(Head(5, head) for head in range(shape.heads)),
            head_dim=shape.dim,
            standard_dim=shape.standard,
            max_tokens=MAX_TOKENS,
            pooling="cls",
            standard_pooling="mean",
        )

    @property
    def card(self) -> EncoderCard:
        """The encoder's card."""
        return self._card

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:  # noqa: ARG002  # the port's
        """Head and standard embeddings, in the order of the texts."""
        hashes = np.array([_hash(text) for text in texts], np.uint64).reshape(-1)
        rows = self._near[hashes % _BANK] + self._far[hashes // _BANK % _BANK]
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return Embeddings(
            rows.reshape(len(texts), self._shape.heads, self._shape.dim).astype(np.float32),
            (rows / np.where(norms == 0, 1, norms)).astype(np.float32),
            np.full(len(texts), CHUNK_CHARS // 5, np.int64),
        )


class LineSegmenter:
    """The Segmenter port; each line is a passage."""

    def passages(self, text: str) -> list[Span]:
        """The text's lines."""
        spans, start = [], 0
        for line in text.splitlines(keepends=True):
            spans.append((start, start + len(line)))
            start += len(line)
        return spans

    def sentences(self, text: str) -> list[Span]:
        """The same."""
        return self.passages(text)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Token counts, at five characters per token."""
        return [len(text) // 5 for text in texts]

    def room(self) -> int:
        """Tokens of a text that the encoder reads."""
        return MAX_TOKENS


def write_corpus(path: Path, num_chunks: int) -> int:
    """Documents of four lines of words as JSON Lines; returns how many.

    The same number of chunks gives the same bytes.
    """
    random = np.random.default_rng(11)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(random.choice(letters, size=n)) for n in random.integers(3, 8, _WORDS)]
    phrases = [" ".join(random.choice(words, size=_PHRASE_WORDS)) for _ in range(_PHRASES)]
    num_documents = -(-num_chunks // CHUNKS_PER_DOCUMENT)
    per_line = CHUNK_CHARS // (6 * _PHRASE_WORDS)
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_documents):
            chosen = random.integers(0, _PHRASES, (CHUNKS_PER_DOCUMENT, per_line)).tolist()
            text = "\n".join(" ".join(phrases[phrase] for phrase in line) for line in chosen)
            document = {"id": f"document-{number:09d}", "text": text, "year": 1900 + number % 125}
            file.write(json.dumps(document) + "\n")
    return num_documents


def open_synthetic(shape: Shape, config: Config, version: str, plan: str) -> ShardEmbedder:
    """Opens a worker's embedder; bind the shape with functools.partial."""
    staging = open_staging(config.staging, config.index, version)
    return synthetic_embedder(shape, config, open_corpus(config.corpus), staging, plan)


def synthetic_embedder(
    shape: Shape, config: Config, reader: CorpusReader, staging: Staging, plan: str
) -> ShardEmbedder:
    """Embeds what the reader reads into that staging."""
    return ShardEmbedder(
        reader=reader,
        encoder=SyntheticEncoder(shape),
        segmenter=LineSegmenter(),
        staging=staging,
        chunking=config.chunking,
        fingerprint=plan,
    )


def questions(shape: Shape, number: int, windows: int) -> NDArray[np.float32]:
    """Vectors of texts that are not in the corpus: (number, H, windows, D)."""
    texts = [f"question {row}" for row in range(number * windows)]
    heads = SyntheticEncoder(shape).encode(texts, "query").heads
    return heads.reshape(number, windows, shape.heads, shape.dim).transpose(0, 2, 1, 3)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
