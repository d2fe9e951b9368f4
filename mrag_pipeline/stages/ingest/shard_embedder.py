"""Embeds one shard: what a worker does. Knows nothing of processes, files or models."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from mrag_pipeline.domain.chunking import chunks_of, embedded_text, fitted_text
from mrag_pipeline.domain.dead_letters import NO_TEXT, duplicate_id, unusable
from mrag_pipeline.domain.documents import (
    Chunk,
    DeadLetter,
    Document,
    document_fingerprint,
    text_hash,
)
from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.domain.remarks import add_counts, add_remarks
from mrag_pipeline.errors import BadVectors
from mrag_pipeline.ports import (
    CorpusReader,
    DocumentRow,
    Encoder,
    Segmenter,
    ShardOutput,
    Staging,
)
from mrag_pipeline.settings.chunking import ChunkingSpec

TITLE_CUT = "a part of the title is not embedded, so that the whole text is"
TEXT_CUT = "the end of a text is not embedded: it has more tokens than the model reads"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardEmbedder:
    """Reads, chunks, encodes and stages one shard at a time."""

    reader: CorpusReader
    encoder: Encoder
    segmenter: Segmenter
    staging: Staging
    chunking: ChunkingSpec
    fingerprint: str

    def embed(self, shard: Shard) -> Receipt:
        """The shard's receipt; embeds and stages the shard unless it is done already.

        Raises: FingerprintMismatch, StorageFull and what the reader raises.
        """
        staged = self.staging.receipt(shard.index, self.fingerprint)
        if staged is not None:
            return staged
        receipt = self.staging.write_shard(self._output(shard), self.fingerprint)
        log.info("shard_embedded shard=%d chunks=%d", shard.index, receipt.num_chunks)
        return receipt

    def _output(self, shard: Shard) -> ShardOutput:
        documents: list[Document] = []
        chunks: list[list[Chunk]] = []  # of each document
        dead: list[DeadLetter] = []
        source_of: dict[str, str] = {}  # by document id
        for item in self.reader.read(shard.slices):
            if isinstance(item, DeadLetter):
                dead.append(item)
                continue
            if item.id in source_of:
                digest = text_hash(item.text)
                dead.append(duplicate_id(item.id, item.source, source_of[item.id], digest))
                continue
            own = list(chunks_of(item, self.segmenter.passages(item.text), self.chunking))
            if not own:
                dead.append(unusable(item, NO_TEXT))
                continue
            source_of[item.id] = item.source
            documents.append(item)
            chunks.append(own)
        remarks: dict[str, int] = {}
        for document in documents:
            add_remarks(remarks, document.remarks)
        embeddings, reasons = self._encode(chunks)
        for remark, of_documents in self._refit(chunks, embeddings, reasons).items():
            add_counts(remarks, {remark: len(of_documents)})
        for position in sorted(reasons, reverse=True):
            dead.append(unusable(documents[position], reasons[position]))
            del documents[position], chunks[position]
        all_chunks = [chunk for own in chunks for chunk in own]
        card = self.encoder.card
        return ShardOutput(
            shard=shard.index,
            chunks=all_chunks,
            vectors=embeddings.heads,
            standard=embeddings.standard,
            sums=ImportanceSums.of(embeddings.heads)
            if all_chunks
            else ImportanceSums.zero(len(card.heads), card.head_dim),
            documents=[
                DocumentRow(document.id, document_fingerprint(document), document.source, len(own))
                for document, own in zip(documents, chunks, strict=True)
            ],
            dead_letters=dead,
            num_tokens=int(embeddings.num_tokens.sum()),
            num_bytes=sum(
                len(document.text.encode("utf-8", "surrogatepass")) for document in documents
            ),
            remarks=remarks,
        )

    def _refit(
        self, chunks: Sequence[Sequence[Chunk]], embeddings: Embeddings, bad: Collection[int]
    ) -> dict[str, set[str]]:
        """Embeds again, with less of the title, the texts whose end the encoder did not read.

        Replaces their rows of the embeddings.
        Returns: the ids of the documents by what is to be told of them.
        """
        room = self.segmenter.room()
        limit = self.encoder.card.max_tokens
        rows = [chunk for at, own in enumerate(chunks) if at not in bad for chunk in own]
        told: dict[str, set[str]] = {}
        for row in np.flatnonzero(embeddings.num_tokens >= limit).tolist():
            chunk = rows[row]
            if self._num_tokens(embedded_text(chunk, self.chunking)) <= room:
                continue
            text = fitted_text(chunk, self.chunking, lambda text: self._num_tokens(text) <= room)
            remark = TITLE_CUT if self._num_tokens(text) <= room else TEXT_CUT
            told.setdefault(remark, set()).add(chunk.document_id)
            again = self.encoder.encode([text], "document")
            embeddings.heads[row] = again.heads[0]
            embeddings.standard[row] = again.standard[0]
            embeddings.num_tokens[row] = again.num_tokens[0]
        return told

    def _num_tokens(self, text: str) -> int:
        return self.segmenter.count_tokens([text])[0]

    def _encode(self, chunks: Sequence[Sequence[Chunk]]) -> tuple[Embeddings, dict[int, str]]:
        """The embeddings of all chunks, and why a document has none, by its position."""
        texts = [embedded_text(chunk, self.chunking) for own in chunks for chunk in own]
        try:
            return self.encoder.encode(texts, "document"), {}
        except BadVectors:
            # One text spoils the batch: encode document by document, to lose only that one.
            pass
        good: list[Embeddings] = [self.encoder.encode([], "document")]
        reasons: dict[int, str] = {}
        for position, own in enumerate(chunks):
            try:
                own_texts = [embedded_text(chunk, self.chunking) for chunk in own]
                good.append(self.encoder.encode(own_texts, "document"))
            except BadVectors as error:
                reasons[position] = error.found
        return Embeddings.joined(good), reasons
