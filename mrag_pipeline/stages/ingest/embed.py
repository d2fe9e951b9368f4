"""Embeds all shards of a plan on a pool of workers, and counts what they did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.domain.remarks import add_counts
from mrag_pipeline.domain.run_limits import check_dead_letters
from mrag_pipeline.errors import EmptyCorpus
from mrag_pipeline.ports import Progress, Staging, WorkerPool
from mrag_pipeline.settings.ingest import IngestSpec


@dataclass(slots=True)
class EmbedTotals:
    """The sums over the receipts of a run."""

    shards: int = 0
    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    dead_letters: int = 0
    bytes: int = 0
    reused_shards: int = 0
    remarks: dict[str, int] = field(default_factory=dict)  # documents, by what is told of them
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
        add_counts(self.remarks, receipt.remarks)


def embed(
    manifest: Manifest,
    staging: Staging,
    open_pool: Callable[[], WorkerPool[Shard, Receipt]],
    spec: IngestSpec,
    progress: Progress,
    may_be_empty: bool = False,
) -> EmbedTotals:
    """Stages every shard of the manifest; shards that are staged already cost nothing.

    Args:
        open_pool: called only if there is a shard to embed; the pool is closed here.
        may_be_empty: accept that no document has text (in a sync; a corpus must have some).
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
    _check(totals, staging, spec)
    if missing:
        with closing(open_pool()) as pool:
            progress.note(f"{len(missing)} shards to embed on {pool.describe()}")
            for receipt in pool.run(missing):
                _count(totals, receipt, progress, reused=False)
                _check(totals, staging, spec)
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


def _check(totals: EmbedTotals, staging: Staging, spec: IngestSpec) -> None:
    check_dead_letters(
        spec,
        totals.dead_letters,
        totals.documents,
        "what was embedded is kept",
        staging.describe(),
    )
