"""What a run would do, and what is refused before anything is spent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import ConfigError, EmptyCorpus, PlanRefused
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.stages.ingest.estimate import SAMPLE_DOCUMENTS, SAMPLE_SHARDS
from mrag_pipeline.stages.ingest.plan import plan, store_plan
from tests.support.builds import Build, RecordingProgress, a_document
from tests.support.fake_staging import FakeStaging

DOCUMENTS = [a_document(i) for i in range(9)]


class FullDisk(FakeStaging):
    def free_bytes(self) -> int | None:
        return 1_000


class SmallIndex(ExactIndex):
    def __init__(self) -> None:
        super().__init__("docs")
        self.checked: list[tuple[int, int]] = []

    def check_limits(
        self, collections: Sequence[CollectionSpec], num_chunks: int
    ) -> tuple[str, ...]:
        self.checked.append((len(collections), num_chunks))
        raise PlanRefused("too small")


class NearlyFullIndex(ExactIndex):
    def check_limits(
        self, collections: Sequence[CollectionSpec], num_chunks: int
    ) -> tuple[str, ...]:
        return (f"{len(collections)} more, and it is nearly full",)


def test_a_plan_counts_a_small_corpus_exactly() -> None:
    """Nine documents of twelve words: two chunks each; nothing is written."""
    build = Build(DOCUMENTS)
    made = build.plan()
    assert made.estimate.exact
    assert (made.estimate.num_documents, made.estimate.num_chunks) == (9, 18)
    assert made.estimate.num_tokens == 9 * 12
    assert made.estimate.num_bytes == sum(len(d.text.encode()) for d in DOCUMENTS)
    assert made.collections == 3 + 1
    assert made.done_shards == 0
    assert build.staging.manifest() is None


def test_the_estimate_of_a_large_corpus_is_near() -> None:
    """From a sample, scaled by size: within a tenth of the real numbers."""
    build = Build([a_document(i) for i in range(4 * SAMPLE_SHARDS * SAMPLE_DOCUMENTS)], 5_000)
    estimate = build.plan().estimate
    assert not estimate.exact
    assert estimate.sampled_documents < len(build.items) / 2
    assert estimate.num_documents == pytest.approx(len(build.items), rel=0.1)
    assert estimate.num_chunks == pytest.approx(2 * len(build.items), rel=0.1)
    assert estimate.num_tokens == pytest.approx(12 * len(build.items), rel=0.1)


def test_the_same_request_has_the_same_version() -> None:
    """So running again resumes."""
    assert Build(DOCUMENTS).plan().manifest == Build(DOCUMENTS).plan().manifest


def test_another_config_of_queries_is_the_same_version() -> None:
    """Of the config as a whole nothing is in the fingerprint: what is stored decides."""
    build = Build(DOCUMENTS)
    request = build.request()
    changed = dataclasses.replace(request, config={"retrieve": {"strategy": "hybrid", "k": 3}})
    assert changed.config != request.config
    other = plan(
        changed,
        *(build.reader, build.encoder, build.segmenter),
        lambda _: build.staging,
        None,
    )
    assert other.manifest.version == build.plan().manifest.version


def test_another_corpus_or_chunking_is_another_version() -> None:
    """A changed file, one document more, other chunks."""
    changed = Build(DOCUMENTS)
    changed.reader.stamp = "2"
    build = Build(DOCUMENTS)
    other = plan(
        dataclasses.replace(build.request(), chunking=ChunkingSpec(max_tokens=9)),
        *(build.reader, build.encoder, build.segmenter),
        lambda _: build.staging,
        None,
    )
    versions = {
        Build(DOCUMENTS).plan().manifest.version,
        Build(DOCUMENTS[:-1]).plan().manifest.version,
        changed.plan().manifest.version,
        other.manifest.version,
    }
    assert len(versions) == 4


def test_done_shards_are_counted() -> None:
    """A second plan knows what is left."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    with pytest.raises(Exception, match="the pool is gone"):
        build.embed(manifest, dies_after=2)
    assert build.plan().done_shards == 2


def test_an_empty_corpus_is_refused() -> None:
    """No file, or no file with a document; the error counts the dead letters."""
    with pytest.raises(EmptyCorpus):
        Build([]).plan()
    with pytest.raises(EmptyCorpus, match="2 dead letters"):
        Build([DeadLetter("", f"x:{i}", "empty", "") for i in range(2)]).plan()


def test_dead_letters_are_counted_but_do_not_stop_the_plan() -> None:
    """Those in the sample are counted."""
    made = Build([*DOCUMENTS, DeadLetter("", "x:1", "empty", "")]).plan()
    assert (made.estimate.num_dead_letters, made.estimate.num_documents) == (1, 9)


def test_a_full_disk_is_refused_before_the_run() -> None:
    """The error gives the needed and the free space, and three ways out."""
    build = Build(DOCUMENTS, staging=FullDisk())
    with pytest.raises(PlanRefused, match="are free") as caught:
        build.plan()
    assert "float16" in caught.value.fix


def test_finished_shards_need_no_more_space() -> None:
    """A run whose shards are all embedded is not refused for the space they take."""
    build = Build(DOCUMENTS)
    manifest = build.planned()
    build.embed(manifest)
    build.staging.free_bytes = lambda: 0  # type: ignore[method-assign]
    assert build.plan().done_shards == len(manifest.shards)


def test_the_index_is_asked_for_its_limits() -> None:
    """For the planned collections and chunks; what it refuses, the plan refuses."""
    build, index = Build(DOCUMENTS), SmallIndex()
    with pytest.raises(PlanRefused, match="too small"):
        plan(
            build.request(),
            *(build.reader, build.encoder, build.segmenter),
            lambda _: build.staging,
            index,
        )
    assert index.checked == [(5, 18)]  # three heads, the words, the chunks


def test_what_the_index_warns_of_is_told() -> None:
    """By the plan, and by a run that stores it."""
    build, progress = Build(DOCUMENTS), RecordingProgress()
    made = plan(
        build.request(),
        *(build.reader, build.encoder, build.segmenter),
        lambda _: build.staging,
        NearlyFullIndex("docs"),
    )
    assert made.warnings == ("5 more, and it is nearly full",)
    store_plan(made, build.staging, progress)
    assert progress.notes[-1] == "plan: 5 more, and it is nearly full"
    assert build.plan().warnings == ()


@pytest.mark.parametrize(
    "chunking",
    [
        ChunkingSpec(max_tokens=7),
        ChunkingSpec(max_tokens=8, overlap_tokens=8),
        ChunkingSpec(max_tokens=257),
    ],
)
def test_impossible_chunk_sizes_are_refused(chunking: ChunkingSpec) -> None:
    """Too short, all overlap, or more than the encoder reads (256)."""
    build = Build(DOCUMENTS)
    with pytest.raises(ConfigError, match=r"chunking\.max_tokens"):
        plan(
            dataclasses.replace(build.request(), chunking=chunking),
            *(build.reader, build.encoder, build.segmenter),
            lambda _: build.staging,
            None,
        )


def test_a_corpus_without_a_document_shows_why_and_hands_over_its_dead_letters() -> None:
    """The first reasons with their places, and the letters for whoever keeps them."""
    letters = [DeadLetter("", f"a.json#{i}", f"reason {i}", "", i) for i in range(1, 6)]
    with pytest.raises(EmptyCorpus, match="15 dead letters") as caught:
        Build(letters).plan()
    shown = caught.value.found.splitlines()[1:]
    assert shown == [f"  a.json#{i}: reason {i}" for i in range(1, 4)]
    assert caught.value.dead_letters == tuple(letters)
    assert caught.value.run.startswith("v")
