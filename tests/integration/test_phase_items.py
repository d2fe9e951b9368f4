"""Phases whose items are done by Ray actors find what they find in one process, to the last bit."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexUnavailable, StagingError, VerifyFailed
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CorpusReader, DeltaStaging, OpenPool
from mrag_pipeline.runtime.pools import phase_pools
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.ingest import reconcile_items, verify_items
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.reconcile import StagedCounts, reconcile
from mrag_pipeline.stages.ingest.verify import CollectionCheck, verify
from mrag_pipeline.stages.serial_pool import SerialPool, in_this_process
from mrag_pipeline.stages.sync import apply_items, compare_items, item_comparison
from mrag_pipeline.stages.sync.compare import SyncComparison, SyncScope, compare
from mrag_pipeline.stages.versions import export, row_items
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.export import Exporter, export_version
from mrag_pipeline.stages.versions.repair import Repaired, repair
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.staging.exports import open_export
from mrag_pipeline.wiring.phase_work import reconciler
from tests.support.builds import Build, RecordingProgress, a_document
from tests.support.fake_corpus import FakeCorpusReader
from tests.support.index_in_file import IndexInFile
from tests.support.living_index import Living, assert_same
from tests.support.living_index import a_document as living_document
from tests.support.phase_workers import (
    Crew,
    DeltaOnDisk,
    ExportOnDisk,
    StagingOnDisk,
    ray_pools,
)

DOCUMENTS = [
    *(a_document(i) for i in range(24)),
    Document("d0", a_document(99).text, source="again"),
]


# The items of a phase in this process; by one worker; by two; by two of which one is killed in the
# middle; by two of which one is late, so that the other does its item too. By workers that die,
# verify and export are done in every run of the tests.
def _crews(*marks: pytest.MarkDecorator) -> pytest.MarkDecorator:
    killed = pytest.param((2, 3, None), id="2-3", marks=marks)
    late = pytest.param((2, None, 3), id="2-late", marks=pytest.mark.long)
    slow = [
        pytest.param((count, None, None), id=str(count), marks=pytest.mark.slow) for count in (1, 2)
    ]
    here = pytest.param((0, None, None), id="here")
    return pytest.mark.parametrize("crew", [here, *slow, killed, late], indirect=True)


CREWS, CREWS_IN_ALL_RUNS = _crews(pytest.mark.long), _crews()


@pytest.fixture
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Crew:
    count, dies_at, late_at = request.param
    if count:
        request.getfixturevalue("local_ray")
    return Crew(tmp_path, count, dies_at, late_at=late_at)


class Loaded:
    """A version that is staged and loaded."""

    def __init__(self) -> None:
        self.build = Build(DOCUMENTS)
        self.manifest: Manifest
        self.staged: StagedCounts
        self.manifest, self.staged = self.build.staged()
        self.index = ExactIndex(self.manifest.index)
        load(
            self.manifest,
            self.build.staging,
            self.index,
            self.staged.num_chunks,
            RecordingProgress(),
        )
        self.progress = RecordingProgress()

    def verified(
        self, open_pool: OpenPool, spec: IngestSpec | None = None
    ) -> list[CollectionCheck]:
        self.progress = RecordingProgress()
        return verify(
            self.manifest,
            self.build.staging,
            self.index,
            self.staged.num_chunks,
            spec or IngestSpec(verify_sample=12, min_recall=0.1),
            self.progress,
            open_pool,
        )


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return Loaded()


@pytest.fixture
def small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shard in each item."""
    monkeypatch.setattr(verify_items, "ITEM_BYTES", 1)


@pytest.mark.usefixtures("small_items")
@CREWS_IN_ALL_RUNS
def test_verify_finds_the_same_on_workers(loaded: Loaded, crew: Crew) -> None:
    """The same checks, to the last bit of a recall."""
    here = loaded.verified(in_this_process)
    num_items = loaded.progress.done["verify"]
    assert num_items > 2 * len(loaded.manifest.shards)
    there = loaded.verified(crew.pools)
    assert there == here
    assert loaded.progress.done["verify"] == num_items
    crew.check()


@pytest.mark.usefixtures("local_ray", "small_items")
def test_the_first_bad_collection_is_named_whoever_is_faster(tmp_path: Path) -> None:
    """Two collections are damaged; every run reports the first of them, with the same words."""
    loaded = Loaded()
    first, second, *_ = loaded.index.collections()
    for name in (second, first):
        loaded.index.delete(name, next(loaded.index.ids(name))[:1].tolist())
    errors = []
    for open_pool in (in_this_process, ray_pools(tmp_path, 2)):
        with pytest.raises(VerifyFailed) as caught:
            loaded.verified(open_pool)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert len(set(errors)) == 1


@CREWS
def test_reconcile_finds_the_same_on_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crew: Crew
) -> None:
    """The same counts, the same documents left out, and sums that are equal in every bit."""
    monkeypatch.setattr(reconcile_items, "ITEM_SHARDS", 1)
    staging = StagingOnDisk(str(tmp_path / "staging"), "docs", "v1")
    build = Build(DOCUMENTS, staging=staging)  # type: ignore[arg-type]
    manifest, here = build.staged()
    left_out = staging.duplicates()
    assert sum(map(len, (left_out or {}).values())) == 1
    pools, progress = crew.pools, RecordingProgress()
    there = reconcile(manifest, staging, IngestSpec(), progress, pools)
    assert staging.duplicates() == left_out
    assert (there.num_documents, there.num_chunks, there.num_dead_letters) == (
        here.num_documents,
        here.num_chunks,
        here.num_dead_letters,
    )
    assert there.sums.norm_sum.tobytes() == here.sums.norm_sum.tobytes()
    assert there.sums.unit_sum.tobytes() == here.sums.unit_sum.tobytes()
    assert progress.done["reconcile"] == 2 * len(manifest.shards)
    crew.check()


@pytest.mark.usefixtures("local_ray")
def test_a_worker_opens_what_the_config_names(tmp_path: Path) -> None:
    """As a flow does: above `workers.phase_mb`, workers find plan and shards by themselves."""
    uri = str(tmp_path / "staging")
    version = Build(DOCUMENTS).plan().manifest.version
    build = Build(DOCUMENTS, staging=StagingOnDisk(uri, "docs", version))  # type: ignore[arg-type]
    manifest, here = build.staged()
    workers = {"count": 1, "device": "cpu", "phase_mb": 0.0}
    config = Config.parse({"index": "docs", "staging": {"uri": uri}, "workers": workers})
    pools = phase_pools(config, partial(reconciler, version))
    with closing(pools(len, 1)) as pool:
        assert "Ray" in pool.describe()
    there = reconcile(manifest, build.staging, IngestSpec(), RecordingProgress(), pools)
    assert there.num_chunks == here.num_chunks
    assert there.sums.unit_sum.tobytes() == here.sums.unit_sum.tobytes()


@CREWS
def test_audit_finds_the_same_on_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crew: Crew
) -> None:
    """The same report of a damaged version: the same counts, and the same chunks named first."""
    monkeypatch.setattr(row_items, "BLOCK_ROWS", 7)
    loaded = Loaded()
    record = keep_ready(loaded.manifest, loaded.staged, loaded.index)
    head, *_, chunks = record.collections()
    head_rows = loaded.index._get(head)
    head_rows.vectors[:] = -head_rows.vectors  # at its length: only the proofs tell
    here = audit(record, None, loaded.index, RecordingProgress(), in_this_process)
    altered = [finding for finding in here.findings if finding.where == head]
    assert altered[0].count == loaded.staged.num_chunks
    pools, progress = crew.pools, RecordingProgress()
    assert audit(record, None, loaded.index, progress, pools) == here
    assert progress.phases == [("audit", progress.done["audit"], "items")]
    assert progress.facts == {"chunks": loaded.index.count(chunks)}
    crew.check()


@CREWS
@pytest.mark.parametrize("is_shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_sync_finds_the_same_on_workers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crew: Crew,
    is_shared: bool,
) -> None:
    """The same difference and the same plan; the index is read by workers only if it is shared."""
    monkeypatch.setattr(item_comparison, "ITEM_BYTES", 300)
    monkeypatch.setattr(compare_items, "MARKS_ROWS", 9)
    loaded = Loaded()
    record = keep_ready(loaded.manifest, loaded.staged, loaded.index)
    items = [*DOCUMENTS[4:9], *(a_document(i, "another text") for i in (0, 9)), *DOCUMENTS[10:]]
    items += [a_document(50), replace(DOCUMENTS[6], source="again")]
    scope = SyncScope(allow_deletes=True)

    def compared(name: str, open_pool: OpenPool) -> tuple[SyncComparison, RecordingProgress]:
        staging, progress = DeltaOnDisk(str(tmp_path / name), "docs", "v1"), RecordingProgress()
        reader: CorpusReader = FakeCorpusReader(items)
        done = compare(
            record, reader, loaded.index, staging, SyncSpec(), IngestSpec(), scope, progress,
            open_pool, is_shared,
        )  # fmt: skip
        assert done.manifest is not None
        assert staging.manifest() == done.manifest
        assert sum(map(len, staging.removed())) == 2 * (2 + 3)
        return done, progress

    here, in_one = compared("here", in_this_process)
    there, on_workers = compared("there", crew.pools)
    difference = here.difference
    assert (difference.added, difference.changed, difference.removed) == (1, 2, 3)
    assert there == here
    assert on_workers.phases == in_one.phases
    assert on_workers.done == in_one.done
    crew.check()


class SyncedOnce(Living):
    """Its first sync's staging can be opened by workers."""

    def delta(self, record: VersionRecord) -> DeltaStaging:
        assert not record.syncs
        return DeltaOnDisk(str(self.folder), self.name, record.version)


@CREWS
@pytest.mark.parametrize(
    "dies_of", ["WriteItem", pytest.param("DeleteItem", marks=pytest.mark.slow)]
)
def test_a_sync_is_applied_by_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crew: Crew, dies_of: str
) -> None:
    """The version of a rebuild, also if a worker dies while it writes or deletes."""
    monkeypatch.setattr(item_comparison, "shard_bytes", lambda *_: 75)
    monkeypatch.setattr(apply_items, "DELETED_IDS", 2)
    first = [living_document(i) for i in range(12)]
    crew = replace(crew, dies_of=dies_of)
    index: Any = IndexInFile(tmp_path / "index")
    living = SyncedOnce(tmp_path / "staging", first, index, pools=crew.pools)
    living.ingest()
    living.items = [*(living_document(i, edition=1) for i in range(5)), *first[8:]]
    _, applied = living.sync()
    assert applied is not None
    assert (applied.chunks_added, applied.chunks_removed) == (10, 16)
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))
    crew.check()


@CREWS_IN_ALL_RUNS
def test_an_export_is_the_same_on_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crew: Crew
) -> None:
    """The same files, each byte; a worker that dies costs its shard a second try."""
    monkeypatch.setattr(export, "CHUNKS_PER_SHARD", 7)
    loaded = Loaded()
    record = keep_ready(loaded.manifest, loaded.staged, loaded.index)
    here, there = ExportOnDisk(str(tmp_path / "here")), ExportOnDisk(str(tmp_path / "there"))
    number = export_version(record, loaded.index, here, RecordingProgress())
    pools, progress = crew.pools, RecordingProgress()
    assert export_version(record, loaded.index, there, progress, pools) == number
    assert progress.done["export"] == number
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    crew.check()


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file's content, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_an_export_that_workers_wrote_elsewhere_is_not_whole(tmp_path: Path) -> None:
    """As on another machine, whose disk has an earlier export in a folder of that name."""
    loaded = Loaded()
    record = keep_ready(loaded.manifest, loaded.staged, loaded.index)
    ours, elsewhere = open_export(str(tmp_path / "ours")), open_export(str(tmp_path / "elsewhere"))

    def opened(work: Any, _num_bytes: int) -> SerialPool:
        assert isinstance(work, Exporter)
        manifest = ours.staging.manifest()
        assert manifest is not None
        elsewhere.staging.write_manifest(manifest)
        return in_this_process(replace(work, staging=elsewhere.staging))

    with pytest.raises(StagingError, match="every node of the cluster"):
        export_version(record, loaded.index, ours, RecordingProgress(), opened)
    assert ours.record() is None


@CREWS
def test_a_repair_does_the_same_on_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crew: Crew
) -> None:
    """Without staging: the documents of damaged rows leave the index, and no others."""
    monkeypatch.setattr(row_items, "BLOCK_ROWS", 7)

    def repaired(open_pool: OpenPool) -> tuple[Repaired, list[int]]:
        loaded = Loaded()
        record = keep_ready(loaded.manifest, loaded.staged, loaded.index)
        record = replace(record, created_at="2026-01-01T00:00:00+00:00")
        head, *_, chunks = record.collections()
        loaded.index._get(head).vectors[3:30:9] *= -1
        done = repair(record, None, loaded.index, RecordingProgress(), open_pool)
        return done, sorted(int(i) for block in loaded.index.ids(chunks) for i in block)

    here = repaired(in_this_process)
    assert here[0].documents_removed == 3
    there = repaired(crew.pools)
    assert there[1] == here[1]
    assert there[0].record.to_json() == here[0].record.to_json()
    crew.check()


@CREWS
def test_a_repair_from_staging_does_the_same_on_workers(tmp_path: Path, crew: Crew) -> None:
    """Rows that are lost and altered are written again, to the bit, and no others."""

    def repaired(open_pool: OpenPool) -> tuple[Repaired, list[bytes]]:
        loaded = Loaded()
        record = keep_ready(loaded.manifest, loaded.staged, loaded.index)
        record = replace(record, created_at="2026-01-01T00:00:00+00:00")
        head, other, *_, chunks = record.collections()
        loaded.index._get(head).vectors[3:30:9] *= -1
        loaded.index.delete(other, [int(i) for i in next(loaded.index.ids(other))[5:8]])
        staged = StagedVersion(loaded.build.staging, [])
        done = repair(record, staged, loaded.index, RecordingProgress(), open_pool)
        ids = sorted(int(i) for block in loaded.index.ids(chunks) for i in block)
        stored = [loaded.index.vectors(name, ids) for name in (head, other)]
        return done, [vectors[i].tobytes() for vectors in stored for i in ids]

    here = repaired(in_this_process)
    assert (here[0].restored, here[0].documents_removed, here[0].recounted) == (6, 0, False)
    there = repaired(crew.pools)
    assert there[1] == here[1]
    assert there[0].record.to_json() == here[0].record.to_json()
    crew.check()


class Silent(ExactIndex):
    """An index that does not answer."""

    def count(self, collection: str) -> int:
        raise IndexUnavailable(f"{collection} does not answer")


@pytest.mark.usefixtures("local_ray")
def test_a_silent_index_ends_the_phase_at_once(loaded: Loaded, tmp_path: Path) -> None:
    """Who runs the phase repeats it; the pool does not repeat the item as well."""
    silent = Loaded()
    silent.index = Silent(loaded.manifest.index)
    with pytest.raises(IndexUnavailable, match="does not answer"):
        silent.verified(ray_pools(tmp_path, 1))
