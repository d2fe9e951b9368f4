"""Shards become staged vectors: bad documents, resumed runs, and what stops a run."""

from __future__ import annotations

import numpy as np
import pytest

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.errors import (
    EmptyCorpus,
    FingerprintMismatch,
    MragError,
    TooManyDeadLetters,
    WorkerLost,
)
from mrag_pipeline.settings.ingest import IngestSpec
from tests.support.builds import Build, CountingEncoder, a_document
from tests.support.fake_staging import as_matrix

DOCUMENTS = [a_document(i) for i in range(9)]


def staged_bytes(build: Build) -> list[tuple[list[int], bytes]]:
    """All staged ids and vectors, shard by shard."""
    manifest = build.staging.manifest()
    assert manifest is not None
    shards = []
    for shard in manifest.shards:
        ids = build.staging.chunk_ids(shard.index).tolist()
        vectors = [
            as_matrix(build.staging.head(shard.index, head)) for head in manifest.encoder.heads
        ]
        vectors.append(as_matrix(build.staging.chunks(shard.index)))
        shards.append((ids, b"".join(vector.tobytes() for vector in vectors)))
    return shards


def test_every_document_is_staged_once() -> None:
    """Nine documents, two chunks each; the totals are the receipts' sums."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    totals = build.embed(manifest)
    rows = [row for shard in manifest.shards for row in build.staging.documents(shard.index)]
    assert [(row.id, row.num_chunks) for row in rows] == [(d.id, 2) for d in DOCUMENTS]
    assert (totals.documents, totals.chunks, totals.dead_letters) == (9, 18, 0)
    assert totals.shards == len(manifest.shards)
    assert totals.bytes == sum(len(d.text) for d in DOCUMENTS)
    assert len(build.encoder.texts) == 18


def test_rows_belong_to_their_chunks() -> None:
    """Row i of every head is chunk i's own vector."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    build.embed(manifest)
    for shard in manifest.shards:
        texts = build.staging.chunks(shard.index)["text"].to_pylist()
        heads = CountingEncoder().encode(texts, "document").heads
        for number, head in enumerate(manifest.encoder.heads):
            staged = as_matrix(build.staging.head(shard.index, head))
            np.testing.assert_array_equal(staged, heads[:, number])
        np.testing.assert_allclose(
            build.staging.sums(shard.index).unit_sum, ImportanceSums.of(heads).unit_sum
        )


@pytest.mark.parametrize("dies_after", [0, 1, 2])
def test_a_resumed_run_embeds_only_what_is_missing(dies_after: int) -> None:
    """Killed after a few shards, then run again: the same bytes, no text encoded twice."""
    build, whole = Build(DOCUMENTS), Build(DOCUMENTS)
    manifest = build.planned()
    with pytest.raises(WorkerLost):
        build.embed(manifest, dies_after)
    totals = build.embed(manifest)
    whole.embed(whole.planned())
    assert staged_bytes(build) == staged_bytes(whole)
    assert sorted(build.encoder.texts) == sorted(whole.encoder.texts)
    assert (totals.reused_shards, totals.documents) == (dies_after, 9)
    assert all(pool.closed for pool in build.pools)


def test_a_finished_run_opens_no_pool() -> None:
    """With nothing left to embed there is no worker and no model; the totals are the same."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    first = build.embed(manifest)
    again = build.embed(manifest)
    assert len(build.pools) == 1
    assert (again.documents, again.chunks, again.tokens) == (9, 18, first.tokens)
    assert again.reused_shards == len(manifest.shards)


def test_a_shard_done_twice_counts_once() -> None:
    """After a worker died behind its receipt, the next attempt finds the receipt."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    embedder = build.embedder(manifest)
    first = embedder.embed(manifest.shards[0])
    encoded = len(build.encoder.texts)
    assert embedder.embed(manifest.shards[0]) == first
    assert len(build.encoder.texts) == encoded


def test_another_plans_shard_is_refused() -> None:
    """It is an error, not a warning."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    build.embed(manifest)
    other = Build(DOCUMENTS[:-1]).plan().manifest
    with pytest.raises(FingerprintMismatch):
        build.embed(other)


def test_a_bad_vector_sets_one_document_aside() -> None:
    """Its neighbours in the batch are embedded; the dead letter gives the reason."""
    poisoned = [*DOCUMENTS[:3], Document("bad", "poison here", source="p:1"), *DOCUMENTS[3:]]
    build, clean = Build(poisoned, 10_000), Build(DOCUMENTS, 10_000)
    manifest = build.planned()
    totals = build.embed(manifest)
    clean.embed(clean.planned())
    [letter] = build.staging.dead_letters(0)
    assert (letter.document_id, letter.source) == ("bad", "p:1")
    assert "bad vector" in letter.reason
    assert (totals.documents, totals.dead_letters) == (9, 1)
    assert staged_bytes(build) == staged_bytes(clean)


def test_a_duplicate_in_a_shard_is_a_dead_letter() -> None:
    """The first stays; the second says where the first is."""
    build = Build([DOCUMENTS[0], Document("d0", "other words", source="again:7")], 10_000)
    build.embed(build.planned())
    [letter] = build.staging.dead_letters(0)
    assert letter.source == "again:7"
    assert letter.reason == "duplicate document id; the first is at corpus:0"


def test_a_document_without_text_does_not_hide_a_later_one() -> None:
    """Of several documents with one id, the first with text is kept, as it is across shards."""
    build = Build([Document("d0", "  \n "), *DOCUMENTS], 10_000)
    totals = build.embed(build.planned())
    assert [row.id for row in build.staging.documents(0)] == [d.id for d in DOCUMENTS]
    assert (totals.documents, totals.dead_letters) == (9, 1)


def test_the_readers_dead_letters_are_kept() -> None:
    """With their source and reason, next to the shard's documents."""
    letter = DeadLetter("x", "x:1", "not UTF-8", "")
    build = Build([DOCUMENTS[0], letter, DOCUMENTS[1]], 10_000)
    totals = build.embed(build.planned())
    assert build.staging.dead_letters(0) == [letter]
    assert (totals.documents, totals.dead_letters) == (2, 1)


def test_a_shard_of_only_dead_letters_is_done() -> None:
    """It has a receipt like any other, and zero sums."""
    letters = [DeadLetter("", f"x:{i}", "empty", "") for i in range(200)]
    build = Build([*DOCUMENTS, *letters], spec=IngestSpec(max_dead_letter_share=1.0))
    manifest = build.planned()
    totals = build.embed(manifest)
    assert totals.dead_letters == 200
    assert totals.shards == len(manifest.shards)
    assert build.staging.sums(manifest.shards[-1].index).num_chunks == 0


def test_too_many_dead_letters_stop_the_run_early() -> None:
    """Before the end of the corpus; the message has the share, and finished shards are kept."""
    letters = [DeadLetter("", f"x:{i}", "empty", "") for i in range(20)]
    build = Build([*DOCUMENTS[:2], *letters, *(a_document(i) for i in range(100, 200))])
    manifest = build.planned()
    with pytest.raises(TooManyDeadLetters, match="are bad") as caught:
        build.embed(manifest)
    assert "5.0%" in caught.value.expected
    done = [build.staging.receipt(s.index, manifest.fingerprint) for s in manifest.shards]
    assert 0 < sum(receipt is not None for receipt in done) < len(done)
    assert build.pools[0].closed


def test_a_corpus_whose_documents_all_fail_is_an_error() -> None:
    """Whatever share is allowed: an empty index is of no use."""
    build = Build([*(Document(f"p{i}", "poison") for i in range(3))])
    manifest = build.planned()
    with pytest.raises(EmptyCorpus, match="3 dead letters"):
        build.embed(manifest)


def test_progress_counts_only_new_work() -> None:
    """Reused shards move the bar but not the counts, so rates are those of this run."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    with pytest.raises(MragError):
        build.embed(manifest, dies_after=2)
    build.progress.facts.clear()
    build.embed(manifest)
    assert build.progress.done["embed"] == len(manifest.shards)
    reused = sum(len(build.staging.documents(shard.index)) for shard in manifest.shards[:2])
    assert build.progress.facts["documents"] == 9 - reused
    assert build.progress.finished[-1] == "embed"
