"""Manifests, receipts and version records survive JSON; names and fingerprints."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.heads import EncoderCard, Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.index_name import check_index_name
from mrag_pipeline.domain.manifest import (
    Manifest,
    Receipt,
    StagedFile,
    fingerprint,
    version_of,
)
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.domain.version import (
    VersionRecord,
    chunks_collection,
    head_collection,
    live_alias,
    version_in,
)
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec

CARD = EncoderCard(
    spec=EncoderSpec(model="m", layers=(-2, -1), query_prefix="query: "),
    family="bert",
    weights_hash="0" * 64,
    heads=(Head(4, 0), Head(5, 11)),
    head_dim=3,
    standard_dim=6,
    max_tokens=256,
    pooling="cls",
    standard_pooling="mean",
)
PARTS: dict[str, Any] = {
    "index": "docs",
    "listing": "l",
    "corpus": {"uri": "a.jsonl"},
    "chunking": ChunkingSpec(),
    "encoder": CARD,
    "vector_dtype": "float32",
    "sharding": {"shard_mb": 0.0},
}


def test_a_manifest_survives_json() -> None:
    """Written and read, it is equal: shards, encoder and names with any character."""
    manifest = Manifest(
        index="docs",
        version="v0123456789ab",
        fingerprint="f",
        listing="l",
        corpus={"uri": "ä\u2028.jsonl"},
        chunking=ChunkingSpec(max_tokens=64),
        encoder=CARD,
        vector_dtype="float16",
        shards=(Shard(0, (Slice("a", "bytes", 0, 9, 9, "s"), Slice("b", "file", 0, 1, 3, "t"))),),
        config={"index": "docs", "workers": {"count": 2}},
    )
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


def test_a_receipt_survives_json() -> None:
    """Written and read, it is equal."""
    receipt = Receipt(3, "f", 1, 2, 3, 4, 5, (StagedFile("heads/l05_h00.parquet", 9, "ab"),))
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_a_version_record_survives_json_to_the_bit() -> None:
    """Importance is the same number after a thousand writes: sums go as bytes, not decimals."""
    vectors = np.random.default_rng(1).normal(size=(5, 2, 3))
    record = VersionRecord(
        index="docs",
        version="v0123456789ab",
        fingerprint="f",
        encoder=CARD,
        chunking=ChunkingSpec(),
        sums=ImportanceSums.of(vectors),
        num_documents=3,
        num_chunks=5,
        num_dead_letters=1,
        created_at="2026-01-02T03:04:05+00:00",
        corpus="a.jsonl",
        config={"index": "docs"},
    )
    restored = VersionRecord.from_json(record.to_json())
    assert restored.to_json() == record.to_json()
    assert restored.sums.num_chunks == 5
    np.testing.assert_array_equal(restored.importance(), record.importance())
    assert restored.encoder == CARD
    assert restored.head_collections() == (
        "docs_v0123456789ab_l04_h00",
        "docs_v0123456789ab_l05_h11",
    )


def test_the_fingerprint_covers_all_that_determines_the_vectors() -> None:
    """Each part changes it, the encoder's weights and prefixes too."""
    changes: list[dict[str, Any]] = [
        {"index": "other"},
        {"listing": "m"},
        {"corpus": {"uri": "b.jsonl"}},
        {"chunking": ChunkingSpec(overlap_tokens=1)},
        {"vector_dtype": "float16"},
        {"sharding": {"shard_mb": 1.0}},
        {"encoder": dataclasses.replace(CARD, weights_hash="1" * 64)},
        {"encoder": dataclasses.replace(CARD, pooling="last")},
        {"encoder": dataclasses.replace(CARD, int8="0" * 32)},
        {"encoder": dataclasses.replace(CARD, int8="1" * 32)},
        {
            "encoder": dataclasses.replace(
                CARD, spec=dataclasses.replace(CARD.spec, document_prefix="passage: ")
            )
        },
    ]
    seen = {fingerprint(**PARTS)} | {fingerprint(**PARTS | change) for change in changes}
    assert len(seen) == 1 + len(changes)


def test_a_card_says_how_int8_was_measured_only_where_it_was() -> None:
    """Without it, a card is written as before there was int8: fingerprints and marks stay."""
    int8 = dataclasses.replace(CARD, int8="0" * 32)
    assert EncoderCard.from_dict(int8.to_dict()) == int8
    assert int8.to_dict() == CARD.to_dict() | {"int8": "0" * 32}
    assert "int8" not in CARD.to_dict()
    assert fingerprint(**PARTS) == "f8de5168e59bbec9aef6ae87001f538e"


def test_the_same_weights_elsewhere_are_the_same_encoder() -> None:
    """A model copied to another folder, or fetched from the hub, resumes the same version."""
    moved = dataclasses.replace(
        CARD, spec=dataclasses.replace(CARD.spec, model="/elsewhere", revision="abc")
    )
    assert fingerprint(**PARTS | {"encoder": moved}) == fingerprint(**PARTS)


def test_a_version_is_named_after_its_fingerprint() -> None:
    """Twelve digits: short enough for a collection's name."""
    assert version_of("0123456789abcdef0123456789abcdef") == "v0123456789ab"


def test_names_say_what_they_belong_to() -> None:
    """Collections, chunks and alias; and back to the version."""
    version = "v0123456789ab"
    assert head_collection("docs", version, Head(5, 7)) == "docs_v0123456789ab_l05_h07"
    assert chunks_collection("docs", version) == "docs_v0123456789ab_chunks"
    assert live_alias("docs") == "docs_live"
    assert version_in("docs", "docs_v0123456789ab_l05_h07") == version
    assert version_in("docs", "docs_v0123456789ab_chunks") == version


@pytest.mark.parametrize(
    "collection",
    ["docs_live", "docs_versions", "other_v0123456789ab_chunks", "docs_b_v0123456789ab_chunks"],
)
def test_other_collections_belong_to_no_version(collection: str) -> None:
    """An index whose name begins with ours is not ours."""
    assert version_in("docs", collection) is None


@pytest.mark.parametrize("name", ["docs", "Docs2", "a_b_c", "a" * 64])
def test_good_index_names(name: str) -> None:
    """Letters, digits, single underscores."""
    assert check_index_name(name) == name


@pytest.mark.parametrize("name", ["", "2docs", "_a", "a_", "a__b", "a-b", "a b", "ä", "a" * 101])
def test_bad_index_names(name: str) -> None:
    """Names that Milvus refuses, or that would be ambiguous, are refused."""
    with pytest.raises(ConfigError, match="index name"):
        check_index_name(name)


def test_a_head_is_named_and_read_back() -> None:
    """Two digits each, more where there are more."""
    assert str(Head(5, 7)) == "l05_h07"
    assert Head.parse("l05_h07") == Head(5, 7)
    assert Head.parse(str(Head(120, 127))) == Head(120, 127)
