"""Shards to staged head embeddings: what a worker does, and what the driver counts.

Knows nothing of processes, files or models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.documents import (
    Chunk,
    DeadLetter,
    Document,
    document_fingerprint,
    text_hash,
)
from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.domain.run_limits import too_many_dead
from mrag_pipeline.errors import BadVectors, EmptyCorpus, TooManyDeadLetters
from mrag_pipeline.ports import (
    CorpusReader,
    DocumentRow,
    Encoder,
    Progress,
    Segmenter,
    ShardOutput,
    Staging,
    WorkerPool,
)
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.ingest import IngestSpec

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
        """The shard's receipt: found if the shard is done, else after doing it.

        Raises: FingerprintMismatch, StorageFull and what the reader raises.
        """
        found = self.staging.receipt(shard.index, self.fingerprint)
        if found is not None:
            return found
        receipt = self.staging.write_shard(self._output(shard), self.fingerprint)
        log.info("shard_embedded shard=%d chunks=%d", shard.index, receipt.num_chunks)
        return receipt

    def _output(self, shard: Shard) -> ShardOutput:
        documents: list[Document] = []
        chunks: list[list[Chunk]] = []
        dead: list[DeadLetter] = []
        seen: dict[str, str] = {}
        for item in self.reader.read(shard.slices):
            if isinstance(item, DeadLetter):
                dead.append(item)
                continue
            if item.id in seen:
                dead.append(duplicate(item.id, item.source, seen[item.id], text_hash(item.text)))
                continue
            cut = list(chunks_of(item, self.segmenter.passages(item.text), self.chunking))
            if not cut:
                dead.append(_dead(item, "no text is left to embed"))
                continue
            seen[item.id] = item.source
            documents.append(item)
            chunks.append(cut)
        embeddings, bad = self._encode(chunks)
        for at in sorted(bad, reverse=True):
            dead.append(_dead(documents[at], bad[at]))
            del documents[at], chunks[at]
        flat = [chunk for cut in chunks for chunk in cut]
        card = self.encoder.card
        return ShardOutput(
            shard=shard.index,
            chunks=flat,
            vectors=embeddings.heads,
            standard=embeddings.standard,
            sums=ImportanceSums.of(embeddings.heads)
            if flat
            else ImportanceSums.zero(len(card.heads), card.head_dim),
            documents=[
                DocumentRow(d.id, document_fingerprint(d), d.source, len(cut))
                for d, cut in zip(documents, chunks, strict=True)
            ],
            dead_letters=dead,
            num_tokens=int(embeddings.num_tokens.sum()),
            num_bytes=sum(len(d.text.encode("utf-8", "surrogatepass")) for d in documents),
        )

    def _encode(self, chunks: Sequence[Sequence[Chunk]]) -> tuple[Embeddings, dict[int, str]]:
        """The embeddings of all chunks, and by position the documents that have none."""
        texts = [embedded_text(chunk, self.chunking) for cut in chunks for chunk in cut]
        try:
            return self.encoder.encode(texts, "document"), {}
        except BadVectors:
            # One text spoils the batch: find whose, so that only its document is lost.
            pass
        good: list[Embeddings] = [self.encoder.encode([], "document")]
        bad: dict[int, str] = {}
        for at, cut in enumerate(chunks):
            try:
                own = [embedded_text(chunk, self.chunking) for chunk in cut]
                good.append(self.encoder.encode(own, "document"))
            except BadVectors as error:
                bad[at] = error.found
        return (
            Embeddings(
                np.concatenate([part.heads for part in good]),
                np.concatenate([part.standard for part in good]),
                np.concatenate([part.num_tokens for part in good]),
            ),
            bad,
        )


@dataclass(slots=True)
class EmbedTotals:
    """What the receipts of a run add up to."""

    shards: int = 0
    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    dead_letters: int = 0
    bytes: int = 0
    reused_shards: int = 0
    _seen: set[int] = field(default_factory=set, repr=False)

    def add(self, receipt: Receipt, reused: bool) -> None:
        """Counts a receipt; a second one of the same shard changes nothing."""
        if receipt.shard in self._seen:
            return
        self._seen.add(receipt.shard)
        self.shards += 1
        self.documents += receipt.num_documents
        self.chunks += receipt.num_chunks
        self.tokens += receipt.num_tokens
        self.dead_letters += receipt.num_dead_letters
        self.bytes += receipt.num_bytes
        self.reused_shards += reused


def embed(
    manifest: Manifest,
    staging: Staging,
    open_pool: Callable[[], WorkerPool],
    spec: IngestSpec,
    progress: Progress,
    may_be_empty: bool = False,
) -> EmbedTotals:
    """Every shard of the manifest staged; shards that already are cost nothing.

    Args:
        open_pool: called only if there is a shard to embed; the pool is closed here.
        may_be_empty: whether no document with text is no error (a sync's, not a corpus).
    Raises: TooManyDeadLetters, EmptyCorpus, WorkerLost, and a shard's own permanent error.
    """
    totals = EmbedTotals()
    missing: list[Shard] = []
    progress.phase("embed", len(manifest.shards), "shards")
    indexes = (shard.index for shard in manifest.shards)
    receipts = staging.receipts(indexes, manifest.fingerprint)
    for shard, receipt in zip(manifest.shards, receipts, strict=True):
        if receipt is None:
            missing.append(shard)
        else:
            _count(totals, receipt, progress, reused=True)
    if totals.reused_shards:
        progress.note(f"{totals.reused_shards} of {len(manifest.shards)} shards were done already")
    _judge(totals, staging, spec)
    if missing:
        with closing(open_pool()) as pool:
            progress.note(f"{len(missing)} shards to embed on {pool.describe()}")
            for receipt in pool.run(missing):
                _count(totals, receipt, progress, reused=False)
                _judge(totals, staging, spec)
    progress.finish()
    if totals.chunks == 0 and not may_be_empty:
        raise EmptyCorpus(
            f"no document with text in the corpus ({totals.dead_letters} dead letters)",
            "at least one document",
            "look at the field mapping that `mrag plan` prints, and at the dead letters in "
            + staging.describe(),
        )
    return totals


def _count(totals: EmbedTotals, receipt: Receipt, progress: Progress, reused: bool) -> None:
    totals.add(receipt, reused)
    counts = {
        "documents": receipt.num_documents,
        "chunks": receipt.num_chunks,
        "tokens": receipt.num_tokens,
        "dead letters": receipt.num_dead_letters,
    }
    progress.advance(1, {} if reused else counts)


def _judge(totals: EmbedTotals, staging: Staging, spec: IngestSpec) -> None:
    if not too_many_dead(spec, totals.dead_letters, totals.documents):
        return
    share = totals.dead_letters / (totals.dead_letters + totals.documents)
    raise TooManyDeadLetters(
        f"{totals.dead_letters} of {totals.dead_letters + totals.documents} documents "
        f"({share:.1%}) are bad; reasons are in {staging.describe()}",
        f"at most {spec.max_dead_letter_share:.1%} (ingest.max_dead_letter_share)",
        "mend the corpus, or allow a larger share; what was embedded is kept",
    )


def duplicate(document_id: str, source: str, first: str, digest: str) -> DeadLetter:
    """The dead letter of a document whose id was there before."""
    return DeadLetter(
        document_id, source, f"duplicate document id; the first is at {first}", digest
    )


def _dead(document: Document, reason: str) -> DeadLetter:
    return DeadLetter(document.id, document.source, reason, text_hash(document.text))
