"""What verification looks at is drawn at random, and what that shows is stated."""

from __future__ import annotations

import numpy as np
import pytest

from mrag_pipeline.domain.confidence import mean_above
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest import verify_items
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.verify import CollectionCheck, VerifiedRecall, verify
from mrag_pipeline.stages.ingest.verify_items import drawn_sample
from tests.support.builds import Build, RecordingProgress, a_document

DOCUMENTS = [a_document(i) for i in range(40)]


def checked(spec: IngestSpec, progress: RecordingProgress | None = None) -> list[CollectionCheck]:
    """A build of 80 chunks in four collections with vectors, verified."""
    build = Build(DOCUMENTS)
    manifest, staged = build.staged()
    index = ExactIndex("docs")
    load(manifest, build.staging, index, staged.num_chunks, RecordingProgress())
    told = progress or RecordingProgress()
    return verify(manifest, build.staging, index, staged.num_chunks, spec, told)


@pytest.mark.parametrize(("num_shards", "size"), [(3, 10), (40, 32), (1_000, 32), (1_000, 700)])
def test_a_sample_has_its_size(num_shards: int, size: int) -> None:
    """None of a shard's chunks twice; the same draw in every run, another for another version."""
    shards = {shard: 5 + shard % 7 for shard in range(num_shards)}
    sample = drawn_sample(shards, size, seed=1)
    assert sum(sample.values()) == size
    assert all(0 < rows <= shards[shard] for shard, rows in sample.items())
    assert drawn_sample(shards, size, seed=1) == sample != drawn_sample(shards, size, seed=2)


def test_a_sample_in_parts_shows_what_it_shows_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large shards of a sample are looked at by several items: the same figures."""
    spec, progress = IngestSpec(verify_sample=12, min_recall=0.1), RecordingProgress()
    whole = checked(spec, progress)
    num_items = progress.done["verify"]
    monkeypatch.setattr(verify_items, "ITEM_BYTES", 1)
    progress = RecordingProgress()
    assert checked(spec, progress) == whole
    assert progress.done["verify"] > 4 * num_items


def test_a_part_that_finds_a_wrong_vector_says_it_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever part of the sample it is in, and whatever the others found."""
    monkeypatch.setattr(verify_items, "ITEM_BYTES", 1)
    build = Build(DOCUMENTS)
    manifest, staged = build.staged()
    index = ExactIndex("docs")
    load(manifest, build.staging, index, staged.num_chunks, RecordingProgress())
    name = index.collections()[0]
    last = build.staging.chunk_ids(manifest.shards[-1].index)[-1]
    held = index._get(name)
    held.vectors[held.ids.tolist().index(last)] *= -1
    spec = IngestSpec(verify_sample=80, min_recall=0.1)
    with pytest.raises(VerifyFailed, match=f"chunk {last} is missing or has another vector"):
        verify(manifest, build.staging, index, staged.num_chunks, spec, RecordingProgress())


def test_every_chunk_is_as_likely_as_any_other() -> None:
    """A shard of ten times as many chunks gives ten times as many of a sample."""
    shards = {number: 10 if number % 2 else 100 for number in range(200)}
    counts = np.zeros(2)
    for seed in range(300):
        for shard, rows in drawn_sample(shards, 40, seed).items():
            counts[shard % 2] += rows
    assert counts[0] / counts[1] == pytest.approx(10, rel=0.15)


def test_the_bound_holds_for_all_collections_at_once() -> None:
    """32 of 80 chunks without a miss, four collections, 99%."""
    checks = checked(IngestSpec(verify_sample=32))
    compared = [check for check in checks if check.queries]
    assert [check.queries for check in compared] == [32] * 4
    shown = VerifiedRecall.of(checks)
    assert shown.recall == 1.0
    assert shown.recall_above == pytest.approx(mean_above([1.0] * 32, 1 - 0.01 / 4))
    assert "99% sure of at least 0.829" in str(shown)


def test_a_sample_of_all_chunks_shows_their_recall() -> None:
    """Nothing is left to be unsure of."""
    assert VerifiedRecall.of(checked(IngestSpec(verify_sample=80))).recall_above == 1.0


def test_the_sample_is_planned_for_what_it_is_to_show() -> None:
    """`ingest.verify_recall` needs so many chunks; without a sample nothing is shown."""
    shown = VerifiedRecall.of(checked(IngestSpec(verify_sample=4, verify_recall=0.9)))
    assert shown.queries == 57
    assert shown.recall_above >= 0.9
    nothing = VerifiedRecall.of(checked(IngestSpec(verify_sample=0, verify_recall=0.9)))
    assert (nothing.recall, nothing.recall_above, nothing.queries) == (1.0, 0.0, 0)


def test_what_is_not_looked_at_is_told() -> None:
    """Where exact search covers some shards only."""
    progress = RecordingProgress()
    shown = VerifiedRecall.of(checked(IngestSpec(verify_sample=2, verify_among=8), progress))
    assert any("are not looked for" in note for note in progress.notes)
    assert 0.0 < shown.searched < 1.0
    assert f"among {shown.searched:.2%} of the shards" in str(shown)
    quiet = RecordingProgress()
    every = VerifiedRecall.of(checked(IngestSpec(verify_sample=2), quiet))
    assert quiet.notes == []
    assert every.searched == 1.0
    assert "among" not in str(every)


def test_chunks_are_drawn_by_themselves_and_not_by_shards() -> None:
    """Of two shards in a hundred alike the sample has its share, in one draw as in another."""
    shards = dict.fromkeys(range(1_000), 1_000)
    shares = [
        sum(rows for shard, rows in drawn_sample(shards, 700, seed).items() if shard < 20) / 700
        for seed in range(200)
    ]
    assert np.mean(shares) == pytest.approx(0.02, abs=0.002)
    assert np.var(shares) == pytest.approx(0.02 * 0.98 / 700, rel=0.4)  # of independent draws
