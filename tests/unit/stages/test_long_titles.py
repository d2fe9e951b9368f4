"""A chunk and its title are longer than the encoder reads: refused in the plan, else told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.shard_embedder import TEXT_CUT, TITLE_CUT, ShardEmbedder
from tests.support.builds import Build
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.fake_staging import as_matrix

LIMIT = 20  # words that the encoder reads, one of them its own
BODY = " ".join(f"word{n}" for n in range(14))
TITLE = " ".join(f"title{n}" for n in range(10))
ALIKE = [Document("a", f"{BODY} first", TITLE), Document("b", f"{BODY} second", TITLE)]
LONG = ChunkingSpec(max_tokens=15)
ENCODER = FakeEncoder(EncoderSpec(model="fake", max_tokens=LIMIT))


def test_the_plan_refuses_what_does_not_fit() -> None:
    """With the numbers, and the largest chunk that would fit with this title."""
    build = Build(ALIKE)
    with pytest.raises(PlanRefused) as refused:
        plan(
            dataclasses.replace(build.request(), chunking=LONG),
            *(build.reader, ENCODER, FakeSegmenter(LONG, LIMIT)),
            lambda _: build.staging,
            None,
        )
    assert "25 tokens of 19" in refused.value.found
    assert "chunking.max_tokens = 9 or less" in refused.value.fix


def staged(documents: list[Document], chunking: ChunkingSpec) -> tuple[Receipt, Build]:
    """The documents as one shard, embedded without a look at the plan's check."""
    build = Build(documents)
    manifest = build.planned()
    embedder = ShardEmbedder(
        *(build.reader, ENCODER, FakeSegmenter(chunking, LIMIT), build.staging),
        *(chunking, manifest.fingerprint),
    )
    whole = Slice("fake", "records", 0, len(documents), 9, build.reader.stamp)
    return embedder.embed(Shard(0, (whole,))), build


def test_a_title_gives_way_to_the_text() -> None:
    """Two documents that differ in their last word alone have different vectors."""
    receipt, build = staged(ALIKE, LONG)
    vectors = as_matrix(build.staging.chunks(0))
    assert len(vectors) == 2
    assert not np.allclose(vectors[0], vectors[1])
    assert dict(receipt.remarks) == {TITLE_CUT: 2}


def test_a_text_that_is_cut_is_told() -> None:
    """Where chunks are longer than the encoder reads, as a version built before may have."""
    receipt, _ = staged([Document("long", f"{BODY} {BODY}"), *ALIKE], ChunkingSpec(max_tokens=28))
    assert dict(receipt.remarks) == {TEXT_CUT: 1, TITLE_CUT: 2}


def test_what_fits_is_embedded_as_ever() -> None:
    """With its whole title, and nothing to tell."""
    receipt, build = staged([Document("short", "short text", TITLE), ALIKE[0]], LONG)
    alone = ENCODER.encode([f"{TITLE}\nshort text"], "document").standard
    np.testing.assert_array_equal(as_matrix(build.staging.chunks(0))[:1], alone)
    assert dict(receipt.remarks) == {TITLE_CUT: 1}
