"""Plans a version and checks all that can be checked before anything is spent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from mrag_pipeline.domain.manifest import Manifest, fingerprint, version_of
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES, Shard, cut, listing_digest, shard_bytes
from mrag_pipeline.domain.version import READING
from mrag_pipeline.errors import ConfigError, EmptyCorpus, PlanRefused
from mrag_pipeline.ports import Collections, CorpusReader, Encoder, Progress, Segmenter, Staging
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.sharding import ShardingSpec
from mrag_pipeline.stages.ingest.estimate import Estimate, estimate_build
from mrag_pipeline.stages.version_collections import collections_of

MIN_CHUNK_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Request:
    """What to plan."""

    index: str
    corpus: dict[str, object]  # the corpus spec, plain values
    chunking: ChunkingSpec
    sharding: ShardingSpec
    vector_dtype: str
    config: dict[str, object]  # resolved
    lexical: LexicalSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """The manifest, and what a person wants to know before starting the run."""

    manifest: Manifest
    estimate: Estimate
    collections: int
    done_shards: int
    free_bytes: int | None
    corpus: str  # the reader's own description
    warnings: tuple[str, ...] = ()  # what the index says of its limits


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
    reading = dict(reader.reading())
    card = encoder.card
    # A model that cannot embed fails now, not in an actor an hour later.
    encoder.encode(["A text to see that the model answers."], "document")
    listing = listing_digest(piece for shard in shards for piece in shard.slices)
    sharding = dataclasses.asdict(request.sharding)
    has_full_text = index is not None and index.capabilities().has_full_text
    lexical = request.lexical if request.lexical.enabled and has_full_text else None
    digest = fingerprint(
        request.index,
        listing,
        request.corpus | ({READING: reading} if reading else {}),
        request.chunking,
        card,
        request.vector_dtype,
        sharding,
        lexical,
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
        config=request.config | {READING: reading},
        lexical=lexical,
    )
    estimate = estimate_build(manifest, reader, segmenter)
    _check_titles(request.chunking, estimate, segmenter.room(), card.spec.model)
    staging = open_staging(manifest.version)
    receipts = staging.receipts((shard.index for shard in shards), digest)
    num_done = sum(receipt is not None for receipt in receipts)
    collections = collections_of(manifest)
    free_bytes = staging.free_bytes()
    needed_bytes = int(estimate.staging_bytes * (1 - num_done / len(shards)))
    if free_bytes is not None and needed_bytes > free_bytes:
        raise PlanRefused(
            f"about {needed_bytes / 1e6:,.0f} MB are needed in {staging.describe()}, "
            f"{free_bytes / 1e6:,.0f} MB are free",
            "room for the staged vectors before the first is computed",
            "free some space, point staging.uri elsewhere, or set staging.vector_dtype = 'float16'",
        )
    warnings = () if index is None else index.check_limits(collections, estimate.num_chunks)
    return Plan(
        manifest, estimate, len(collections), num_done, free_bytes, reader.describe(), warnings
    )


def store_plan(made: Plan, staging: Staging, progress: Progress) -> str:
    """Stores the plan's manifest in its version's staging; returns the version's name."""
    manifest = made.manifest
    staging.write_manifest(manifest)
    progress.note(f"plan: {made.corpus}; version {manifest.version}, {len(manifest.shards)} shards")
    for warning in made.warnings:
        progress.note(f"plan: {warning}")
    return manifest.version


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


def _check_titles(chunking: ChunkingSpec, estimate: Estimate, room: int, model: str) -> None:
    """Refuses chunks that leave no room for the title: the end of their text would not be read."""
    if not estimate.num_long_texts:
        return
    fitting = min(room - estimate.longest_title, chunking.max_tokens - 1)
    shorter = f"chunking.max_tokens = {fitting} or less, " if fitting >= MIN_CHUNK_TOKENS else ""
    raise PlanRefused(
        f"{estimate.num_long_texts:,} of the sampled texts, titles included, are longer than "
        f"{model} reads beside prefix and special tokens: the longest has "
        f"{estimate.longest_text} tokens of {room}",
        f"chunks and titles that fit (chunking.max_tokens = {chunking.max_tokens})",
        f"set {shorter}a lower chunking.max_title_chars, or chunking.title = 'none'",
    )


def _check_lengths(chunking: ChunkingSpec, encoder: Encoder) -> None:
    card = encoder.card
    is_long_enough = chunking.max_tokens >= MIN_CHUNK_TOKENS
    if not is_long_enough or not 0 <= chunking.overlap_tokens < chunking.max_tokens:
        raise ConfigError(
            f"chunking.max_tokens = {chunking.max_tokens}, "
            f"chunking.overlap_tokens = {chunking.overlap_tokens}",
            f"max_tokens of at least {MIN_CHUNK_TOKENS}, and an overlap below it",
            "correct [chunking] in the config",
        )
    if chunking.max_tokens > card.max_tokens:
        raise ConfigError(
            f"chunking.max_tokens = {chunking.max_tokens}",
            f"at most {card.max_tokens}: {card.spec.model} reads no further",
            "lower chunking.max_tokens, or raise encoder.max_tokens if the model allows it",
        )
