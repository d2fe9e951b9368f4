"""What a run would do and needs, worked out and checked before anything is spent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.manifest import Manifest, fingerprint, version_of
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES, Shard, cut, listing_digest, shard_bytes
from mrag_pipeline.errors import ConfigError, EmptyCorpus, PlanRefused
from mrag_pipeline.ports import Collections, CorpusReader, Encoder, Segmenter, Staging
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.sharding import ShardingSpec
from mrag_pipeline.stages.ingest.load import collections_of

SAMPLE_SHARDS = 8
SAMPLE_DOCUMENTS = 64  # of each sampled shard are cut and counted
STAGED_SHARE = 0.95  # of float vectors left after compression: they hardly compress
INDEXED_SHARE = 1.3  # of the raw size, in the index


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked to be planned."""

    index: str
    corpus: dict[str, object]  # the corpus spec, plain values
    chunking: ChunkingSpec
    sharding: ShardingSpec
    vector_dtype: str
    config: dict[str, object]  # resolved


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the run needs, from a sample of the corpus. Exact where the sample is all of it."""

    num_bytes: int  # of source
    num_documents: int
    num_chunks: int
    num_tokens: int
    staging_bytes: int
    index_bytes: int
    num_dead_letters: int  # seen in the sample
    sampled_documents: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The manifest, and what a person wants to know before saying yes."""

    manifest: Manifest
    estimate: Estimate
    collections: int
    done_shards: int
    free_bytes: int | None
    corpus: str  # the reader's own description


def plan(
    request: Request,
    reader: CorpusReader,
    encoder: Encoder,
    segmenter: Segmenter,
    open_staging: Callable[[str], Staging],
    index: Collections | None,
) -> Plan:
    """The plan of a version; writes nothing.

    Args:
        open_staging: the staging of a version by its name.
        index: where it will be loaded; None leaves its limits unchecked.
    Raises: what cannot work: CorpusNotFound, EmptyCorpus, BrokenFile, ConfigError, EncoderError,
        PlanRefused (disk, names, limits), FingerprintMismatch.
    """
    _check_lengths(request.chunking, encoder)
    shards = shards_of(reader, request.sharding)
    card = encoder.card
    # A text that the model cannot embed shows now, not in an actor an hour later.
    encoder.encode(["A text to see that the model answers."], "document")
    listing = listing_digest(piece for shard in shards for piece in shard.slices)
    sharding = dataclasses.asdict(request.sharding)
    digest = fingerprint(
        request.index,
        listing,
        request.corpus,
        request.chunking,
        card,
        request.vector_dtype,
        sharding,
    )
    manifest = Manifest(
        index=request.index,
        version=version_of(digest),
        fingerprint=digest,
        listing=listing,
        corpus=request.corpus,
        chunking=request.chunking,
        encoder=card,
        vector_dtype=request.vector_dtype,
        shards=shards,
        config=request.config,
    )
    estimate = _estimate(manifest, reader, segmenter)
    staging = open_staging(manifest.version)
    receipts = staging.receipts((shard.index for shard in shards), digest)
    done = sum(receipt is not None for receipt in receipts)
    collections = collections_of(request.index, manifest.version, card)
    free = staging.free_bytes()
    needed = int(estimate.staging_bytes * (1 - done / len(shards)))
    if free is not None and needed > free:
        raise PlanRefused(
            f"about {needed / 1e6:,.0f} MB are needed in {staging.describe()}, "
            f"{free / 1e6:,.0f} MB are free",
            "room for the staged vectors before the first is computed",
            "free some space, point staging.uri elsewhere, or set staging.vector_dtype = 'float16'",
        )
    if index is not None:
        index.check_limits(collections, estimate.num_chunks)
    return Plan(manifest, estimate, len(collections), done, free, reader.describe())


def shards_of(reader: CorpusReader, spec: ShardingSpec) -> tuple[Shard, ...]:
    """The corpus cut into shards, from its listing alone.

    Raises: CorpusNotFound, EmptyCorpus, BrokenFile.
    """
    coarse = list(reader.slices(MAX_SHARD_BYTES))
    target = shard_bytes(spec, sum(piece.num_bytes for piece in coarse))
    pieces = coarse if target >= MAX_SHARD_BYTES else reader.slices(target)
    shards = tuple(cut(pieces, target, spec.max_files))
    if not shards:
        raise EmptyCorpus("nothing in the corpus", "at least one document", "check corpus.uri")
    return shards


def _check_lengths(chunking: ChunkingSpec, encoder: Encoder) -> None:
    card = encoder.card
    if chunking.max_tokens < 8 or not 0 <= chunking.overlap_tokens < chunking.max_tokens:
        raise ConfigError(
            f"chunking.max_tokens = {chunking.max_tokens}, "
            f"chunking.overlap_tokens = {chunking.overlap_tokens}",
            "max_tokens of at least 8, and an overlap below it",
            "correct [chunking] in the config",
        )
    if chunking.max_tokens > card.max_tokens:
        raise ConfigError(
            f"chunking.max_tokens = {chunking.max_tokens}",
            f"at most {card.max_tokens}: {card.spec.model} reads no further",
            "lower chunking.max_tokens, or raise encoder.max_tokens if the model allows it",
        )


def _estimate(manifest: Manifest, reader: CorpusReader, segmenter: Segmenter) -> Estimate:
    """Documents and characters of some whole shards; chunks and tokens of their first texts."""
    shards = manifest.shards
    step = max(1, len(shards) // SAMPLE_SHARDS)
    sampled = shards[::step][:SAMPLE_SHARDS]
    cut_documents: list[Document] = []
    num_documents = num_chars = cut_chars = dead = 0
    for shard in sampled:
        taken = 0
        for item in reader.read(shard.slices):
            if isinstance(item, DeadLetter):
                dead += 1
                continue
            num_documents += 1
            num_chars += len(item.text)
            if taken < SAMPLE_DOCUMENTS:
                taken += 1
                cut_chars += len(item.text)
                cut_documents.append(item)
    everything = len(sampled) == len(shards)
    if everything and not num_documents:
        raise EmptyCorpus(
            f"no document with text in the corpus ({dead} dead letters)",
            "at least one document",
            f"check the field mapping: {reader.describe()}",
        )
    num_bytes = sum(shard.num_bytes for shard in shards)
    by_bytes = num_bytes / max(1, sum(shard.num_bytes for shard in sampled))
    by_chars = by_bytes * num_chars / max(1, cut_chars)
    num_chunks, num_tokens, text_bytes = _measure(cut_documents, manifest.chunking, segmenter)
    card = manifest.encoder
    chunks = math.ceil(num_chunks * by_chars)
    width = 2 if manifest.vector_dtype == "float16" else 4
    vectors = chunks * (len(card.heads) * card.head_dim * width + card.standard_dim * 4)
    return Estimate(
        num_bytes=num_bytes,
        num_documents=round(num_documents * by_bytes),
        num_chunks=chunks,
        num_tokens=round(num_tokens * by_chars),
        staging_bytes=int(vectors * STAGED_SHARE + text_bytes * by_chars),
        index_bytes=int((vectors * 4 / width + text_bytes * by_chars) * INDEXED_SHARE),
        num_dead_letters=dead,
        sampled_documents=num_documents,
        exact=everything and num_chars == cut_chars,
    )


def _measure(
    documents: Sequence[Document], chunking: ChunkingSpec, segmenter: Segmenter
) -> tuple[int, int, int]:
    """Chunks, tokens and bytes of text that the documents give."""
    texts = [
        embedded_text(chunk, chunking)
        for document in documents
        for chunk in chunks_of(document, segmenter.passages(document.text), chunking)
    ]
    return len(texts), sum(segmenter.count_tokens(texts)), sum(map(len, texts))
