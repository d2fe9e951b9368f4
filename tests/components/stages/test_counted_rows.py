"""The answers to every phase's items tell how many rows they are of, as the metrics count them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.domain.work_item import rows_of
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.serial_pool import SerialPool, in_this_process
from mrag_pipeline.stages.sync.compare import SyncScope, compare
from mrag_pipeline.stages.versions.audit import audit
from mrag_pipeline.stages.versions.export import export_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.repair import repair
from mrag_pipeline.staging.exports import open_export
from tests.support.living_index import Living, a_document, staged_of

DOCUMENTS, CHUNKS = 10, 20
SAMPLE = 4  # chunks that verify looks at


class CountedRows:
    """Opens pools in this process, and counts the rows of their answers by phase."""

    def __init__(self, living: Living) -> None:
        self.rows: Counter[str] = Counter()
        self._progress = living.progress

    def __call__(self, work: Any, _num_bytes: int) -> SerialPool:
        def done(item: Any) -> Any:
            answer = work(item)
            self.rows[self._progress.phases[-1][0]] += rows_of(answer)
            return answer

        return in_this_process(done)


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Living:
    """Ten documents of two chunks."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    made = Living(tmp_path / "staging", [a_document(number) for number in range(DOCUMENTS)])
    made.ingest_spec = replace(made.ingest_spec, verify_sample=SAMPLE, verify_recall=0.0)
    return made


def test_the_phases_of_an_ingest_tell_their_rows(living: Living) -> None:
    """Documents and chunks; rows of each collection; vectors of the sample and beside it."""
    pools, progress, spec = CountedRows(living), living.progress, living.ingest_spec
    manifest = living.build()
    staging = living.staging(manifest.version)
    staged = reconcile(manifest, staging, spec, progress, pools)
    load(manifest, staging, living.index, staged.num_chunks, progress, pools)
    verify(manifest, staging, living.index, staged.num_chunks, spec, progress, pools)
    publish(manifest, staged, living.index)
    totals = {name: total for name, total, _ in progress.phases}
    num_vectors = living.num_heads + 1
    assert staged.num_chunks == CHUNKS
    assert pools.rows == {
        "reconcile": DOCUMENTS + CHUNKS,
        "load": totals["load"],
        "verify": num_vectors * (SAMPLE + CHUNKS),
    }


def test_the_phases_of_a_sync_tell_their_rows(living: Living) -> None:
    """Chunks of the version and documents of the corpus; what goes and what is stored."""
    living.ingest()
    pools, record = CountedRows(living), live_record(living.index)
    living.items = [a_document(0, edition=1), *living.items[1:]]
    spec, progress = living.ingest_spec, living.progress
    delta = living.delta(record)
    compare(
        record, living.reader(), living.index, delta, living.spec, spec, SyncScope(), progress,
        pools, is_shared=True,
    )  # fmt: skip
    assert pools.rows == {"compare": CHUNKS + DOCUMENTS, "store": 2 + 1}


def test_the_phases_that_apply_a_sync_tell_their_rows(living: Living) -> None:
    """Chunks that come, and those that go."""
    living.ingest()
    pools = CountedRows(living)
    living.pools = pools
    living.items = [a_document(0, edition=1), *living.items[1:]]
    living.sync()
    assert pools.rows == {"check": 2 + 2, "apply": 2 + 2}


def test_audit_repair_and_export_tell_their_rows(living: Living, tmp_path: Path) -> None:
    """Chunks, each once; a repair compares those of every staged shard."""
    record = living.ingest()
    index, progress = living.index, living.progress
    pools = CountedRows(living)
    audit(record, staged_of(living), index, progress, pools)
    export_version(record, index, open_export(str(tmp_path / "export")), progress, pools)
    assert pools.rows == {"audit": CHUNKS, "export": CHUNKS}
    pools.rows.clear()
    repair(record, staged_of(living), index, progress, pools)
    assert pools.rows.total() == CHUNKS
