"""Rows that are there, usable and counted, and not what was written: found, and mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.stages.versions.audit import audit_sample
from mrag_pipeline.stages.versions.export import export_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.staging.exports import open_export
from tests.support.changed_rows import change_chunk, chunk_ids, exchange_vectors, negate_number
from tests.support.living_index import Living, a_document, assert_same, audited, repaired

TEN = [a_document(i) for i in range(10)]
Damage = Callable[[VectorIndex, VersionRecord, list[int]], None]


def changed(**values: object) -> Damage:
    return lambda index, record, ids: change_chunk(index, record, ids[0], **values)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "vectors exchanged": (
        lambda index, record, ids: exchange_vectors(index, record, ids[:2]),
        "2 vectors that are not what was written",
    ),
    "sign of a number": (
        lambda index, record, ids: negate_number(index, record, ids[3]),
        "1 vectors that are not what was written",
    ),
    "standard vector": (changed(vector=[1.0] * 16), "1 vectors that are not what was written"),
    "text": (changed(text="other"), "1 chunks whose text or metadata"),
    "title": (changed(title="other"), "1 chunks whose text or metadata"),
    "tenant": (changed(metadata='{"tenant": "b"}'), "1 chunks whose text or metadata"),
    "fingerprint": (changed(fingerprint="0" * 32), "1 chunks whose text or metadata"),
    "document": (changed(document_id="nobody"), "1 chunks whose text or metadata"),
    "span": (changed(end=1_000), "1 chunks whose text or metadata"),
    "proof": (changed(proof="a!"), "1 proofs that cannot be read"),
}
NEED_A_PROOF = {"vectors exchanged", "standard vector", "tenant", "fingerprint"}


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Living:
    """Ten documents, live, and synced once: one new, one changed, one gone."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    made = Living(tmp_path / "staging", TEN)
    made.ingest()
    made.items = [a_document(0, edition=1), *TEN[2:], a_document(10)]
    made.sync()
    return made


def damage(living: Living, how: str) -> str:
    """Does it; returns what audit has to say."""
    record = live_record(living.index)
    inflict, found = DAMAGES[how]
    inflict(living.index, record, chunk_ids(living.index, record))
    return found


def findings(living: Living, with_staging: bool = True) -> str:
    return "\n".join(str(one) for one in audited(living, with_staging).findings)


def without_proofs(living: Living) -> None:
    """Makes index and staging those of mrag 0.1, which wrote no proofs."""
    record = live_record(living.index)
    for row_id in chunk_ids(living.index, record):
        change_chunk(living.index, record, row_id, proof="")
    for receipt in living.folder.rglob("receipt.json"):
        kept = Receipt.from_json(receipt.read_text())
        files = tuple(file for file in kept.files if "proofs" not in file.name)
        receipt.write_text(replace(kept, files=files).to_json())


@pytest.mark.parametrize("how", DAMAGES)
def test_it_is_found_without_staging_and_mended_from_it(
    living: Living, how: str, tmp_path: Path
) -> None:
    """By the proof in the chunks row; afterwards every row is as it was, to the bit."""
    found = damage(living, how)
    assert found in findings(living, with_staging=False)
    assert repaired(living).documents_removed == 0
    assert findings(living) == ""
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


@pytest.mark.parametrize("how", DAMAGES)
def test_without_staging_its_document_goes(living: Living, how: str, tmp_path: Path) -> None:
    """Nobody sees what was not written; the next sync brings it back."""
    damage(living, how)
    assert repaired(living, with_staging=False).documents_removed > 0
    assert findings(living, with_staging=False) == ""
    if how == "document":
        return  # the rest of its own is left, and nothing here says that it was longer
    living.sync()
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


@pytest.mark.parametrize("how", DAMAGES)
def test_a_version_of_0_1_is_compared_with_its_staging(living: Living, how: str) -> None:
    """And mended from it; without staging what nothing proves is counted."""
    without_proofs(living)
    assert findings(living) == ""
    report = audited(living, with_staging=False)
    assert (report.unproven, report.checked) == (report.chunks, report.chunks)
    assert audited(living).unproven == 0
    damage(living, how)
    assert (findings(living, with_staging=False) == "") == (how in NEED_A_PROOF)
    assert findings(living) != ""
    repaired(living)
    assert findings(living) == ""


@pytest.mark.parametrize("how", DAMAGES)
def test_a_sample_of_all_chunks_finds_it(living: Living, how: str) -> None:
    """Without reading every vector's sum, or staging."""
    found = damage(living, how)
    record = live_record(living.index)
    report = audit_sample(record, living.index, 10_000, 0, living.progress)
    assert found in "\n".join(str(one) for one in report.findings)


def test_a_sample_reads_only_its_chunks(living: Living) -> None:
    """And says how much damage it leaves possible."""
    record = live_record(living.index)
    report = audit_sample(record, living.index, 5, 0, living.progress)
    assert (report.findings, report.checked, report.staged_shards) == ((), 5, 0)
    assert report.damaged_share_below == pytest.approx(1 - 0.05 ** (1 / 5))
    living.index.delete(record.head_collections()[0], chunk_ids(living.index, record)[:1])
    [finding] = audit_sample(record, living.index, 1, 1, living.progress).findings[:1]
    assert "rows, for" in str(finding)


def test_a_damaged_row_is_not_exported(living: Living, tmp_path: Path) -> None:
    """Whoever imported it would find a proof of what was never written."""
    damage(living, "tenant")
    record = live_record(living.index)
    export = open_export(str(tmp_path / "export"))
    with pytest.raises(VerifyFailed, match="1 chunks are not what was written"):
        export_version(record, living.index, export, living.progress)
    repaired(living)
    export_version(record, living.index, export, living.progress)
