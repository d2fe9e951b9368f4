"""Reconciling finds what no single shard can: duplicates, collisions, missing shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.errors import StagingError, TooManyDeadLetters, WorkerLost
from mrag_pipeline.ports import Work
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest import reconcile as module
from mrag_pipeline.stages.ingest import reconcile_items
from mrag_pipeline.stages.ingest.reconcile import reconcile, sum_in_order
from mrag_pipeline.stages.serial_pool import SerialPool
from tests.support.builds import Build, a_document

DOCUMENTS = [a_document(i) for i in range(12)]


def with_duplicates() -> list[Document]:
    """Two ids are repeated in later shards with other texts, one of them twice."""
    again = [
        Document("d0", a_document(100).text, source="again:0"),
        Document("d3", a_document(101).text, source="again:3"),
        Document("d0", a_document(102).text, source="again:00"),
    ]
    return [*DOCUMENTS[:6], again[0], *DOCUMENTS[6:10], again[1], *DOCUMENTS[10:], again[2]]


def test_without_duplicates_every_document_is_kept() -> None:
    """Counts are the receipts' sums; there are no duplicates to record."""
    build = Build(DOCUMENTS)
    manifest, staged = build.staged()
    assert len(manifest.shards) > 2
    assert (staged.num_documents, staged.num_chunks, staged.num_dead_letters) == (12, 24, 0)
    assert staged.sums.num_chunks == 24
    assert build.staging.duplicates() == {}


@pytest.mark.parametrize("ids_in_memory", [2_000_000, 4])
def test_duplicates_across_shards_leave_no_trace(
    ids_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids, counts and importance are those of a corpus that has each id's first document only."""
    monkeypatch.setattr(module, "IDS_IN_MEMORY", ids_in_memory)
    build, clean = Build(with_duplicates()), Build(DOCUMENTS)
    manifest, staged = build.staged()
    clean_manifest, expected = clean.staged()
    ids = np.concatenate([build.staging.chunk_ids(s.index) for s in manifest.shards])
    wanted = np.concatenate([clean.staging.chunk_ids(s.index) for s in clean_manifest.shards])
    assert ids.tolist() == wanted.tolist()
    assert (staged.num_documents, staged.num_chunks) == (12, 24)
    assert staged.num_dead_letters == 3
    assert staged.sums.num_chunks == expected.sums.num_chunks
    np.testing.assert_allclose(
        staged.sums.importance(), expected.sums.importance(), rtol=1e-12, atol=1e-12
    )


def test_a_duplicate_is_recorded_with_both_sources() -> None:
    """Its own source and that of the document that stays; a note gives their number."""
    build = Build(with_duplicates())
    build.staged()
    duplicates = build.staging.duplicates()
    assert duplicates is not None
    letters = {
        letter.source: letter for shard_letters in duplicates.values() for letter in shard_letters
    }
    assert set(letters) == {"again:0", "again:3", "again:00"}
    assert letters["again:00"].reason == "duplicate document id; the first is at corpus:0"
    assert "3 documents left out: an earlier one has their id" in build.progress.notes


def test_running_it_again_gives_the_same() -> None:
    """A run killed between embedding and loading reconciles anew."""
    build = Build(with_duplicates())
    manifest, first = build.staged()
    again = reconcile(manifest, build.staging, build.spec, build.progress)
    assert (again.num_documents, again.num_chunks) == (first.num_documents, first.num_chunks)
    np.testing.assert_array_equal(again.sums.unit_sum, first.sums.unit_sum)


def test_a_missing_shard_is_an_error() -> None:
    """Nothing is loaded from half a corpus."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    with pytest.raises(WorkerLost):
        build.embed(manifest, dies_after=2)
    with pytest.raises(StagingError, match="shard 2 is not staged"):
        reconcile(manifest, build.staging, build.spec, build.progress)


@pytest.mark.parametrize("ids_in_memory", [2_000_000, 4])
def test_a_document_with_the_chunk_id_of_another_is_left_out(
    ids_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be one row in Milvus Lite and two on a server; the later one is a dead letter."""
    monkeypatch.setattr(module, "IDS_IN_MEMORY", ids_in_memory)

    def colliding(document: str, start: int, _end: int, _text: str) -> int:
        if document in ("d1", "d4", "d9") and start == 0:
            return 7
        return 1_000 * (1 + int(document[1:])) + start

    monkeypatch.setattr("mrag_pipeline.domain.chunking.chunk_id", colliding)
    build = Build(with_duplicates())
    manifest, staged = build.staged()
    clean = Build([document for document in DOCUMENTS if document.id not in ("d4", "d9")])
    _, expected = clean.staged()
    ids = np.concatenate([build.staging.chunk_ids(s.index) for s in manifest.shards])
    assert len(ids) == len(set(ids.tolist())) == staged.num_chunks == 20
    assert (staged.num_documents, staged.num_dead_letters) == (10, 5)
    np.testing.assert_allclose(staged.sums.importance(), expected.sums.importance(), rtol=1e-12)
    duplicates = build.staging.duplicates() or {}
    letters = [letter for shard_letters in duplicates.values() for letter in shard_letters]
    colliding_ids = {letter.document_id for letter in letters if "chunk id 7" in letter.reason}
    assert colliding_ids == {"d4", "d9"}
    assert len(letters) == 5
    again = reconcile(manifest, build.staging, build.spec, build.progress)
    assert (again.num_documents, again.num_chunks) == (10, 20)


def test_too_many_collisions_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """They count as dead letters, as duplicate ids and unreadable documents do."""
    monkeypatch.setattr(
        "mrag_pipeline.domain.chunking.chunk_id", lambda _document, start, *_: 1 + start
    )
    build = Build(DOCUMENTS, spec=IngestSpec(min_dead_letters=1, max_dead_letter_share=0.5))
    with pytest.raises(TooManyDeadLetters, match="11 of 12 documents"):
        build.staged()


@pytest.mark.parametrize("ids_in_memory", [2_000_000, 4])
def test_each_shard_is_read_once(ids_in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ids there are: a pass per bucket would grow with the square of the corpus."""
    monkeypatch.setattr(module, "IDS_IN_MEMORY", ids_in_memory)
    build = Build(DOCUMENTS)
    manifest = build.planned()
    build.embed(manifest)
    read: list[str] = []

    def noted(name: str, real: Callable[[int], object]) -> Callable[[int], object]:
        def call(shard: int) -> object:
            read.append(f"{name} {shard}")
            return real(shard)

        return call

    for name in ("documents", "sums", "all_chunk_ids", "chunk_ids"):
        monkeypatch.setattr(build.staging, name, noted(name, getattr(build.staging, name)))
    reconcile(manifest, build.staging, build.spec, build.progress)
    assert len(read) == 3 * len(manifest.shards)
    assert len(set(read)) == len(read)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_sums_do_not_depend_on_who_was_faster(order: list[int]) -> None:
    """Floats added in another order differ in their last bits; these are added in the plan's."""
    random = np.random.default_rng(7)
    shards = [ImportanceSums(1, random.random(3), random.random((3, 5))) for _ in range(4)]
    expected = ImportanceSums.zero(3, 5)
    for sums in shards:
        expected = expected + sums
    total = sum_in_order([(place, shards[place]) for place in order], ImportanceSums.zero(3, 5))
    assert total.num_chunks == 4
    assert total.unit_sum.tobytes() == expected.unit_sum.tobytes()
    assert total.norm_sum.tobytes() == expected.norm_sum.tobytes()


def test_ids_whose_hashes_collide_are_not_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids themselves are compared: all documents stay, and real duplicates still go."""
    monkeypatch.setattr(reconcile_items, "text_key", lambda _row: 7)
    build = Build(with_duplicates())
    _, staged = build.staged()
    assert (staged.num_documents, staged.num_dead_letters) == (12, 3)


def test_a_document_that_is_there_twice_word_for_word_is_left_out_once() -> None:
    """Its chunks' ids are the first one's: they go with it, and are no collision."""
    build = Build([*DOCUMENTS, *(replace(d, source=f"again:{d.id}") for d in DOCUMENTS[2:9])])
    _, staged = build.staged()
    assert (staged.num_documents, staged.num_chunks, staged.num_dead_letters) == (12, 24, 7)
    letters = [letter for own in (build.staging.duplicates() or {}).values() for letter in own]
    assert {letter.document_id for letter in letters} == {d.id for d in DOCUMENTS[2:9]}
    assert all("duplicate document id" in letter.reason for letter in letters)


def test_what_an_earlier_run_left_out_hides_nothing() -> None:
    """It may have been cut short, or have been wrong."""
    build, clean = Build(with_duplicates()), Build(with_duplicates())
    manifest = build.planned()
    build.embed(manifest)
    others = {shard.index: [DeadLetter("d4", "", "", "")] for shard in manifest.shards}
    build.staging.write_duplicates(others)
    staged = reconcile(manifest, build.staging, build.spec, build.progress)
    _, expected = clean.staged()
    assert build.staging.duplicates() == clean.staging.duplicates()
    assert staged.num_chunks == expected.num_chunks
    assert staged.sums.unit_sum.tobytes() == expected.sums.unit_sum.tobytes()


@pytest.mark.parametrize("ids_in_memory", [2_000_000, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_document_of_each_id_stays(
    seed: int, ids_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many that are repeated, whoever is faster and however shards are cut into items."""
    monkeypatch.setattr(module, "IDS_IN_MEMORY", ids_in_memory)
    random = np.random.default_rng(seed)
    numbers = random.integers(0, 40, 60).tolist()
    texts = random.integers(0, 3, 60).tolist()
    documents = [
        Document(f"d{number}", a_document(number + text).text, source=str(place))
        for place, (number, text) in enumerate(zip(numbers, texts, strict=True))
    ]
    first = {number: str(place) for place, number in reversed([*enumerate(numbers)])}
    wanted = {str(place) for place in range(60)} - {*first.values()}
    build = Build(documents)
    manifest, here = build.staged()
    found = build.staging.duplicates() or {}
    letters = [letter for own in found.values() for letter in own]
    for shard in manifest.shards:  # a shard sets its own ones aside
        letters += build.staging.dead_letters(shard.index)
    assert {letter.source for letter in letters} == wanted
    assert (here.num_documents, here.num_dead_letters) == (len(first), len(wanted))
    for item_shards in (1, 3, 16):
        monkeypatch.setattr(reconcile_items, "ITEM_SHARDS", item_shards)
        monkeypatch.setattr(reconcile_items, "ITEM_PART", 1)
        build.progress.done.clear()
        there = reconcile(manifest, build.staging, build.spec, build.progress, backwards)
        assert build.staging.duplicates() == found
        assert there.num_chunks == here.num_chunks
        assert there.sums.unit_sum.tobytes() == here.sums.unit_sum.tobytes()
        assert there.sums.norm_sum.tobytes() == here.sums.norm_sum.tobytes()
        _, total, _ = build.progress.phases[-1]
        assert build.progress.done["reconcile"] == total


def backwards(work: Work, _num_bytes: int) -> SerialPool:
    """A pool whose last item is answered first."""

    class Backwards(SerialPool):
        def run(self, items: Iterable[Any]) -> Iterator[Any]:
            return super().run(reversed([*items]))

    return Backwards(lambda: work)


def test_only_items_with_a_repeated_key_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of their shards only those with duplicates have their vectors read."""
    build = Build([*DOCUMENTS, Document("d5", a_document(50).text)])
    manifest = build.planned()
    build.embed(manifest)
    shards = [shard.index for shard in manifest.shards]
    first, last = (shard for shard in shards if "d5" in ids_in(build, shard))

    def noted(read: list[int], real: Callable[[int], object], shard: int) -> object:
        read.append(shard)
        return real(shard)

    reads: dict[str, list[int]] = {"documents": [], "duplicate_vectors": []}
    for name, read in reads.items():
        real = getattr(build.staging, name)
        monkeypatch.setattr(build.staging, name, partial(noted, read, real))
    reconcile(manifest, build.staging, build.spec, build.progress)
    assert sorted(reads["documents"]) == sorted([*shards, first, last])
    assert reads["duplicate_vectors"] == [last]


def ids_in(build: Build, shard: int) -> list[str]:
    return [document.id for document in build.staging.documents(shard)]
