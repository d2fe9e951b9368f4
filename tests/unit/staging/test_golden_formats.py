"""What mrag 0.1 wrote is read for ever; what a newer one wrote is read or refused by name.

`tests/golden/format_0_1` was written by 0.1 and is never written again.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mrag_pipeline import config
from mrag_pipeline.domain import manifest, version
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import NewerFormat, StagingError
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.versions.import_version import read_export
from mrag_pipeline.staging import read_cache_files, tables
from mrag_pipeline.staging.dead_letters import DeadLetterFiles
from mrag_pipeline.staging.exports import open_export
from mrag_pipeline.staging.shards import open_staging

GOLDEN = Path(__file__).parents[2] / "golden" / "format_0_1"
VERSION = "va161c08d1082"
KINDS: dict[str, Callable[[str], object]] = {
    f"staging/docs/{VERSION}/manifest.json": Manifest.from_json,
    f"staging/docs/{VERSION}/shards/00000/receipt.json": Receipt.from_json,
    "record.json": VersionRecord.from_json,
}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A copy of an export by 0.1."""
    return Path(shutil.copytree(GOLDEN / "export", tmp_path / "export"))


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_staging_of_0_1_is_read() -> None:
    """Plan, receipt, chunks, vectors, documents, dead letters."""
    staging = open_staging(StagingSpec(uri=str(GOLDEN / "staging")), "docs", VERSION)
    manifest = staging.manifest()
    assert manifest is not None
    receipt = staging.receipt(0, manifest.fingerprint)
    assert receipt is not None
    assert [document.id for document in staging.documents(0)] == ["d1", "d2", "d3"]
    assert len(staging.chunk_ids(0)) == receipt.num_chunks == 6
    assert staging.chunks_file(0) is None  # it has dictionaries, and no proofs
    letters = DeadLetterFiles(StagingSpec(uri=str(GOLDEN / "staging")), "docs")
    assert [letter.document_id for letter in letters.read("v000000000000")] == ["d9"]


def test_an_export_of_0_1_is_read(export: Path) -> None:
    """It has no digest beside its record."""
    record, manifest = read_export(open_export(str(export)), "other")
    assert (record.num_documents, record.num_chunks, record.index) == (3, 6, "other")
    assert len(manifest.shards) == 1


def test_a_config_file_of_0_1_is_read() -> None:
    """As `mrag init` wrote it: every key is known, and means what it meant."""
    assert config.Config.load(GOLDEN / "mrag.toml").index == "docs"
    written = tomllib.loads((GOLDEN / "mrag.toml").read_text("utf-8"))
    read = config.Config.parse(written).to_dict()
    for table in ("staging", "milvus"):  # their paths are made absolute
        read[table]["uri"] = os.path.relpath(read[table]["uri"])
    assert_kept(read, written)


def assert_kept(read: Any, written: Any) -> None:
    """What was written was read; defaults may stand beside it."""
    if isinstance(written, dict):
        for key, value in written.items():
            assert_kept(read[key], value)
    else:
        assert read == written


@pytest.mark.parametrize("name", KINDS)
def test_a_newer_format_is_refused_by_name(name: str) -> None:
    """With its number, what is read here, and what to do."""
    values = json.loads((GOLDEN / name).read_text())
    with pytest.raises(NewerFormat, match=r"has format 99: a newer mrag wrote it") as caught:
        KINDS[name](json.dumps(values | {"format": 99}))
    assert "docs/upgrading.md" in caught.value.fix


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("number", [0, -1, "2", None, True, 1.5])
def test_a_number_that_is_none_is_damage(name: str, number: object) -> None:
    """Not a newer format."""
    values = json.loads((GOLDEN / name).read_text())
    with pytest.raises(ValueError, match="format"):
        KINDS[name](json.dumps(values | {"format": number}))


@pytest.mark.parametrize("name", KINDS)
def test_fields_of_a_later_version_of_the_same_format_are_passed_over(name: str) -> None:
    """At the top, and within what it is made of."""
    values = json.loads((GOLDEN / name).read_text())
    expected = KINDS[name](json.dumps(values))
    for inner in ("chunking", "encoder", "lexical"):
        if isinstance(values.get(inner), dict):
            values[inner]["later"] = 1
    read = KINDS[name](json.dumps(values | {"later": {"a": [1]}}))
    if isinstance(read, VersionRecord):
        assert isinstance(expected, VersionRecord)
        assert json.loads(read.to_json()) == json.loads(expected.to_json()) | {"later": {"a": [1]}}
    else:
        assert read == expected


def test_what_is_written_today_is_what_0_1_reads() -> None:
    """A record and a receipt have not one field more; readers of 0.1 stop at any."""
    for name in ("record.json", f"staging/docs/{VERSION}/shards/00000/receipt.json"):
        text = (GOLDEN / name).read_text()
        read = KINDS[name](text)
        assert isinstance(read, (VersionRecord, Receipt))
        assert json.loads(read.to_json()) == json.loads(text)


@pytest.mark.parametrize(
    "later", [{"repairs": 2}, {"pushes": 3}, {"pushes": 1, "push_keys": ("a b", "c d")}]
)
def test_a_repaired_or_pushed_versions_record_has_no_field_more(later: dict[str, Any]) -> None:
    """Services of 0.1 answer while a newer mrag repairs, or applies what was pushed."""
    golden = VersionRecord.from_json((GOLDEN / "record.json").read_text())
    assert (golden.repairs, golden.pushes, golden.push_keys) == (0, 0, ())
    written = replace(golden, **later)
    stored = json.loads(written.to_json())
    assert stored.keys() == json.loads(golden.to_json()).keys()
    read = VersionRecord.from_json(json.dumps(stored))
    assert {name: getattr(read, name) for name in later} == later
    assert read.config == golden.config
    assert read.to_json() == written.to_json()


def test_pushes_beside_the_config_are_read(export: Path) -> None:
    """So they were written for a while."""
    values = json.loads((export / "record.json").read_text())
    read = VersionRecord.from_json(json.dumps(values | {"pushes": 2, "push_keys": ["a b"]}))
    assert (read.pushes, read.push_keys, read.unknown) == (2, ("a b",), {})


@pytest.mark.parametrize("file", ["record.json", "manifest.json", "shards/00000/receipt.json"])
def test_an_export_of_a_newer_mrag_is_refused_by_name(file: str, export: Path) -> None:
    """Through the reader of `mrag import`."""
    changed(export / file, lambda values: values.update(format=99))
    with pytest.raises(NewerFormat, match="has format 99: a newer mrag wrote it"):
        read_export(open_export(str(export)), "docs")


def test_the_page_has_the_numbers_of_the_code() -> None:
    """docs/upgrading.md: what is written now, and read now."""
    page = (GOLDEN.parents[2] / "docs" / "upgrading.md").read_text("utf-8")
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    numbers = {cells[0].split(" (")[0].split(",")[0]: cells[-2:] for cells in lines[1:]}
    in_code = {
        "manifest": manifest.FORMAT,
        "receipt of a shard": manifest.RECEIPT_FORMAT,
        "record of a version": version.RECORD_FORMAT,
        "dead letters": tables.DEAD_LETTERS_FORMAT,
        "config file": config.FORMAT,
        "read cache": read_cache_files.FORMAT,
    }
    assert numbers == {name: [str(number)] * 2 for name, number in in_code.items()}


@pytest.fixture
def letters() -> pa.Table:
    """A file of dead letters of today."""
    table = tables.dead_letter_table([DeadLetter("d1", "a.jsonl:1", "empty", "")])
    return tables.from_parquet(tables.parquet(table, "zstd"))


def test_dead_letters_carry_their_format(letters: pa.Table) -> None:
    """A newer one is refused by name, what is none is damage."""
    assert [letter.document_id for letter in tables.dead_letters_of(letters)] == ["d1"]
    newer = letters.replace_schema_metadata({"format": "2"})
    with pytest.raises(NewerFormat, match="dead letters has format 2: a newer mrag wrote it"):
        tables.dead_letters_of(newer)
    for damaged in (letters.replace_schema_metadata({"format": "x"}), pa.table({"other": [1]})):
        with pytest.raises(StagingError, match="holds no dead letters"):
            tables.dead_letters_of(damaged)


def test_columns_of_later_dead_letters_of_the_same_format_are_passed_over(
    letters: pa.Table,
) -> None:
    """Wherever they stand."""
    later = letters.add_column(1, "later", pa.array([1]))
    assert tables.dead_letters_of(later) == tables.dead_letters_of(letters)


# ------------------------------------------------------------------ damage
def test_a_manifest_that_lost_a_shard_is_refused(tmp_path: Path) -> None:
    """It would be loaded as a smaller corpus."""
    golden = Manifest.from_json((GOLDEN / f"staging/docs/{VERSION}/manifest.json").read_text())
    folder = tmp_path / "docs" / VERSION
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(golden.to_json())
    changed(folder / "manifest.json", lambda values: values["shards"].pop())
    staging = open_staging(StagingSpec(uri=str(tmp_path)), "docs", VERSION)
    with pytest.raises(StagingError, match="its content is not what was written"):
        staging.manifest()


@pytest.mark.parametrize(
    ("file", "change", "found"),
    [
        ("manifest.json", lambda values: values["shards"].pop(), "do not belong together"),
        ("record.json", lambda values: values.update(num_chunks=2), "counts 2 chunks"),
        ("record.json", lambda values: values.update(syncs=4), "do not belong together"),
    ],
)
def test_an_edited_export_of_0_1_is_refused(
    export: Path, file: str, change: Callable[[dict[str, Any]], object], found: str
) -> None:
    """By what its parts say of each other."""
    changed(export / file, change)
    with pytest.raises(StagingError, match=found):
        read_export(open_export(str(export)), "docs")


def test_any_edit_of_a_record_exported_today_is_refused(export: Path) -> None:
    """300 documents that became 7 too: the file has a digest."""
    target = open_export(str(export))
    record = target.record()
    assert record is not None
    target.write_record(record)
    assert target.record() is not None
    changed(export / "record.json", lambda values: values.update(num_documents=1))
    with pytest.raises(StagingError, match="its content is not what was written"):
        target.record()


def test_an_export_without_one_of_its_shards_is_refused(export: Path) -> None:
    """Before anything is loaded."""
    (export / "shards" / "00000" / "receipt.json").unlink()
    with pytest.raises(StagingError, match="1 of its 1 shards"):
        read_export(open_export(str(export)), "docs")
