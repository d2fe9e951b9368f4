"""Shard folders on a disk: whole files, equal bytes, and damage."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.precision import rounded
from mrag_pipeline.errors import BadVectors, ConfigError, StagingError, StorageFull
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import staged_files
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.fake_staging import HEADS, PLAN, a_manifest, an_output, as_matrix
from tests.support.staged_shards import VERSION, contents, opened, planned


def staged(root: Path, name: str, shard: int = 0) -> Path:
    """The file that holds what the name says."""
    place = root / "docs" / VERSION / f"shards/{shard:05d}"
    [found] = place.glob(name.replace(".parquet", "-*.parquet"))
    return found


def test_the_layout_matches_the_documentation(tmp_path: Path) -> None:
    """Each file is where the documentation says; its name ends in its content's sha256."""
    staging = planned(tmp_path)
    staging.write_shard(an_output(shard=17), PLAN)
    staging.write_duplicates({})
    found = contents(tmp_path / "docs" / VERSION)
    for name, content in found.items():
        if tag := re.search(r"-(.{12})\.parquet", name):
            assert hashlib.sha256(content).hexdigest().startswith(tag[1])
    assert sorted(re.sub("-.{12}[.]", ".", name) for name in found) == [
        "duplicates.parquet",
        "manifest.json",
        "shards/00017/chunks.parquet",
        "shards/00017/dead_letters.parquet",
        "shards/00017/documents.parquet",
        "shards/00017/heads/l05_h00.parquet",
        "shards/00017/heads/l05_h07.parquet",
        "shards/00017/importance.parquet",
        "shards/00017/proofs.parquet",
        "shards/00017/receipt.json",
    ]


def test_vectors_are_variable_lists(tmp_path: Path) -> None:
    """Milvus's bulk import reads list<float> and no fixed-size list."""
    planned(tmp_path).write_shard(an_output(), PLAN)
    file = staged(tmp_path, "heads/l05_h00.parquet")
    assert pq.read_schema(file).field("vector").type == pa.list_(pa.float32())


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "none"])
def test_a_heads_file_can_be_read_by_a_server(tmp_path: Path, compression: Any) -> None:
    """Where it says, of the size that it says, with the head's columns and no dictionary."""
    spec = StagingSpec(uri=str(tmp_path), compression=compression)
    staging = ShardFolders(spec, "docs", VERSION)
    staging.write_manifest(a_manifest())
    staging.write_shard(an_output(), PLAN)
    file = staging.head_file(0, HEADS[1])
    assert file is not None
    assert (file.store, file.path) == ("", str(staged(tmp_path, "heads/l05_h07.parquet")))
    assert file.num_bytes == Path(file.path).stat().st_size
    assert pq.read_table(file.path).equals(staging.head(0, HEADS[1]))
    group = pq.ParquetFile(file.path).metadata.row_group(0)
    for column in range(group.num_columns):
        assert not any("DICTIONARY" in one for one in group.column(column).encodings)


def for_a_server(
    root: Path, compression: Any = "zstd", import_bytes: float = 0, **changes: Any
) -> ShardFolders:
    """A staged shard whose chunks a server is to import, if they have so many bytes."""
    spec = StagingSpec(uri=str(root), compression=compression)
    staging = ShardFolders(spec, "docs", VERSION, import_bytes=import_bytes)
    staging.write_manifest(a_manifest(**changes))
    staging.write_shard(an_output(), PLAN)
    return staging


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_file_of_chunks_can_be_read_by_a_server(
    tmp_path: Path, compression: Any, dtype: str
) -> None:
    """With the proofs, float32 always, and no dictionary; the rows are those of the other form."""
    staging = for_a_server(tmp_path / "a", compression, vector_dtype=dtype)
    file = staging.chunks_file(0)
    assert file is not None
    assert (file.store, file.path) == ("", str(staged(tmp_path / "a", "chunks.parquet")))
    assert file.num_bytes == Path(file.path).stat().st_size
    table = pq.read_table(file.path)
    assert table.equals(staging.chunks(0))
    assert table.schema.field("vector").type == pa.list_(pa.float32())
    group = pq.ParquetFile(file.path).metadata.row_group(0)
    for column in range(group.num_columns):
        assert not any("DICTIONARY" in one for one in group.column(column).encodings)
    assert not list((tmp_path / "a").rglob("proofs-*"))
    plain = planned(tmp_path / "b", vector_dtype=dtype)
    plain.write_shard(an_output(), PLAN)
    assert plain.chunks(0).equals(table)
    assert opened(tmp_path / "a").chunks(0).equals(table)  # whatever was written is read


@pytest.mark.parametrize(("compression", "import_bytes"), [("zstd", 1e6), ("lz4", 0)])
def test_chunks_that_no_server_imports_have_their_proofs_beside_them(
    tmp_path: Path, compression: str, import_bytes: float
) -> None:
    """Few of them, or in a compression that a server does not know: as mrag 0.1 can load them."""
    staging = for_a_server(tmp_path, compression, import_bytes)
    assert staging.chunks_file(0) is None
    assert "proof" not in pq.read_schema(staged(tmp_path, "chunks.parquet")).names
    assert staged(tmp_path, "proofs.parquet").exists()


def test_standard_vectors_that_a_server_would_not_check_are_refused(tmp_path: Path) -> None:
    """An import takes NaN, infinite and zero vectors."""
    output = an_output()
    for bad in (np.nan, np.inf, 0.0):
        standard = output.standard.copy()
        standard[1] = bad
        staging = ShardFolders(
            StagingSpec(uri=str(tmp_path / str(bad))), "docs", VERSION, import_bytes=0
        )
        staging.write_manifest(a_manifest())
        with pytest.raises(BadVectors, match="1 of 4 vectors"):
            staging.write_shard(replace(output, standard=standard), PLAN)
        assert staging.receipt(0, PLAN) is None


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"garbage"), Path.unlink])
def test_a_damaged_file_of_chunks_is_not_given_to_a_server(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """Whoever reads it to copy it is told what to delete."""
    staging = for_a_server(tmp_path)
    damage(staged(tmp_path, "chunks.parquet"))
    assert staging.chunks_file(0) is None
    with pytest.raises(StagingError, match=r"chunks-\w+\.parquet is missing or damaged"):
        staging.chunks(0)


def test_a_compression_that_a_server_does_not_know_is_read_by_us(tmp_path: Path) -> None:
    """Milvus reads Parquet by Arrow for Go."""
    assert for_a_server(tmp_path, "lz4").head_file(0, HEADS[0]) is None


def test_a_damaged_file_of_a_head_is_found_when_it_is_read(tmp_path: Path) -> None:
    """The table that a server could not import names it as any other read does."""
    planned(tmp_path).write_shard(an_output(), PLAN)
    file = opened(tmp_path).head_file(0, HEADS[0])
    assert file is not None
    Path(file.path).write_bytes(b"garbage")
    with pytest.raises(StagingError, match=r"l05_h00-\w+\.parquet is missing or damaged"):
        file.read()


def test_the_same_output_gives_the_same_bytes(tmp_path: Path) -> None:
    """Nothing in the files depends on when, where or by whom they were written."""
    for name in ("one", "two"):
        planned(tmp_path / name).write_shard(an_output(), PLAN)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(
    "name",
    ["chunks.parquet", "heads/l05_h07.parquet", "proofs.parquet", "importance.parquet"],
)
def test_a_shard_with_a_missing_or_short_file_is_not_done(tmp_path: Path, name: str) -> None:
    """A receipt counts only if all its files exist with their sizes."""
    planned(tmp_path).write_shard(an_output(), PLAN)
    file = staged(tmp_path, name)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert opened(tmp_path).receipt(0, PLAN) is None
    file.unlink()
    assert opened(tmp_path).receipt(0, PLAN) is None
    opened(tmp_path).write_shard(an_output(), PLAN)
    assert file.read_bytes() == whole


def test_a_receipt_cut_short_is_no_receipt(tmp_path: Path) -> None:
    """On a filesystem without atomic writes, the shard is embedded again and the run continues."""
    planned(tmp_path).write_shard(an_output(), PLAN)
    receipt = tmp_path / "docs" / VERSION / "shards/00000/receipt.json"
    receipt.write_bytes(receipt.read_bytes()[:40])
    assert opened(tmp_path).receipt(0, PLAN) is None


def test_a_flipped_bit_is_found_when_it_is_read(tmp_path: Path) -> None:
    """A damaged file is named, and the message says what to delete."""
    planned(tmp_path).write_shard(an_output(), PLAN)
    file = staged(tmp_path, "heads/l05_h00.parquet")
    hurt = bytearray(file.read_bytes())
    hurt[40] ^= 1
    file.write_bytes(hurt)
    with pytest.raises(StagingError, match=r"l05_h00-\w+\.parquet is missing or damaged") as caught:
        opened(tmp_path).head(0, HEADS[0])
    assert "delete" in caught.value.fix
    assert "shards/00000 " in caught.value.fix
    assert opened(tmp_path).head(0, HEADS[1]).num_rows == 4


@pytest.mark.parametrize(
    ("name", "read"),
    [("manifest.json", ShardFolders.manifest), ("duplicates.parquet", ShardFolders.duplicates)],
)
def test_a_damaged_file_of_the_version_is_named(
    tmp_path: Path, name: str, read: Callable[[ShardFolders], object]
) -> None:
    """A damaged plan or duplicates file is an error that names the file."""
    planned(tmp_path).write_duplicates({0: [DeadLetter("a", "", "", "")]})
    (tmp_path / "docs" / VERSION / name).write_bytes(b"garbage")
    with pytest.raises(StagingError, match=name):
        read(opened(tmp_path))


def test_half_precision_halves_the_vectors(tmp_path: Path) -> None:
    """float16 staging keeps 11 bits, and is read as float32."""
    staging = planned(tmp_path, vector_dtype="float16")
    output = an_output()
    staging.write_shard(output, PLAN)
    file = staged(tmp_path, "heads/l05_h00.parquet")
    assert pq.read_schema(file).field("vector").type == pa.list_(pa.float16())
    table = staging.head(0, HEADS[0])
    assert table.schema.field("vector").type == pa.list_(pa.float32())
    expected = output.vectors[:, 0].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(as_matrix(table), expected)
    standard = output.standard.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(as_matrix(staging.chunks(0)), standard)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_are_of_the_rounded_vectors(tmp_path: Path, dtype: str) -> None:
    """Heads, standard embeddings and importance use the same rounded numbers."""
    staging = planned(tmp_path, vector_dtype=dtype)
    output = an_output()
    staging.write_shard(output, PLAN)
    kept = rounded(output.vectors, dtype)
    assert not np.array_equal(kept, output.vectors)
    for place, head in enumerate(HEADS):
        np.testing.assert_array_equal(as_matrix(staging.head(0, head)), kept[:, place])
    np.testing.assert_array_equal(as_matrix(staging.chunks(0)), rounded(output.standard, dtype))
    np.testing.assert_array_equal(staging.sums(0).unit_sum, ImportanceSums.of(kept).unit_sum)
    np.testing.assert_array_equal(staging.sums(0).norm_sum, ImportanceSums.of(kept).norm_sum)


def test_half_precision_refuses_numbers_it_cannot_hold(tmp_path: Path) -> None:
    """A vector over 65,504 would be infinite: an error, not a silent loss."""
    output = an_output()
    output.vectors[1, 0, 0] = 1e6
    with pytest.raises(BadVectors, match="1 of 4 vectors"):
        planned(tmp_path, vector_dtype="float16").write_shard(output, PLAN)
    assert opened(tmp_path).receipt(0, PLAN) is None


@pytest.mark.parametrize("field", ["text", "title", "document_id"])
def test_half_a_surrogate_pair_is_a_clear_error(tmp_path: Path, field: str) -> None:
    """Text that UTF-8 cannot encode is a StagingError that shows it."""
    output = an_output()
    change: dict[str, Any] = {field: "bad \ud800 text"}
    chunks = [replace(output.chunks[0], **change), *output.chunks[1:]]
    with pytest.raises(StagingError, match=r"ud800"):
        planned(tmp_path).write_shard(replace(output, chunks=chunks), PLAN)


def test_a_dead_letter_may_name_a_broken_id(tmp_path: Path) -> None:
    """The dead letters file can name a document whose id is not valid text."""
    output = replace(an_output(), dead_letters=[DeadLetter("id\udcff", "f:1", "bad UTF-8", "")])
    staging = planned(tmp_path)
    staging.write_shard(output, PLAN)
    assert staging.dead_letters(0)[0].document_id == "id\\udcff"


def test_metadata_must_be_json(tmp_path: Path) -> None:
    """NaN is not JSON: Milvus would refuse it hours later."""
    output = an_output()
    chunks = [replace(output.chunks[0], metadata={"score": float("nan")}), *output.chunks[1:]]
    with pytest.raises(StagingError, match="metadata of document 'a'"):
        planned(tmp_path).write_shard(replace(output, chunks=chunks), PLAN)


@pytest.mark.parametrize("steps", range(9))
def test_workers_with_other_bits_do_not_spoil_each_others_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Two machines round differently: at any interleaving, the receipt's files exist.

    The slow worker writes some files, the fast one a whole shard, then the slow one continues.
    """
    fast, slow = planned(tmp_path), opened(tmp_path)
    mine, others = an_output(seed=1), an_output(seed=2)
    assert [chunk.id for chunk in mine.chunks] == [chunk.id for chunk in others.chunks]
    write = Folder.write
    written: list[str] = []

    def counted(folder: Folder, path: str, content: bytes) -> None:
        if len(written) == steps:
            monkeypatch.setattr(Folder, "write", write)
            fast.write_shard(others, PLAN)
        written.append(path)
        write(folder, path, content)

    monkeypatch.setattr(Folder, "write", counted)
    receipt = slow.write_shard(mine, PLAN)
    monkeypatch.setattr(Folder, "write", write)
    staging = opened(tmp_path)
    assert staging.receipt(0, PLAN) == receipt
    # Seven files and the receipt. Before that is written, the other's is looked for.
    wins = others if steps < 7 else mine
    for i, head in enumerate(HEADS):
        np.testing.assert_array_equal(as_matrix(staging.head(0, head)), wins.vectors[:, i])
    np.testing.assert_array_equal(as_matrix(staging.chunks(0)), wins.standard)


def test_shards_of_an_earlier_layout_are_read(tmp_path: Path) -> None:
    """File names without a hash are read, so older staging is not embedded again."""
    planned(tmp_path).write_shard(an_output(), PLAN)
    place = tmp_path / "docs" / VERSION / "shards/00000"
    for file in place.rglob("*.parquet"):
        file.rename(file.with_name(re.sub("-.{12}[.]", ".", file.name)))
    receipt = place / "receipt.json"
    receipt.write_text(re.sub(r"-\w{12}\.parquet", ".parquet", receipt.read_text()))
    staging = opened(tmp_path)
    assert staging.receipt(0, PLAN) is not None
    assert staging.chunks(0).num_rows == 4
    assert staging.head(0, HEADS[0]).num_rows == 4


def test_a_killed_workers_temporary_files_are_removed(tmp_path: Path) -> None:
    """A repeated shard removes dead processes' temporary files and keeps those of others."""
    staging = planned(tmp_path)
    place = tmp_path / "docs" / VERSION / "shards/00000/heads"
    place.mkdir(parents=True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    from mrag_pipeline.staging.atomic_folder import _HOST

    dead = place / f".l05_h00.parquet.{_HOST}.{ended.pid}.0123abcd.tmp"
    alive = place / f".l05_h00.parquet.{_HOST}.{os.getpid()}.0123abcd.tmp"
    elsewhere = place / ".l05_h00.parquet.other-host.1.0123abcd.tmp"
    for file in (dead, alive, elsewhere):
        file.write_bytes(b"half")
    staging.write_shard(an_output(), PLAN)
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()


def test_a_full_disk_raises_storage_full_and_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC becomes StorageFull; no temporary file and no receipt stay."""
    staging = planned(tmp_path)
    real = os.fsync
    calls = iter(range(100))

    def full_at_the_third(descriptor: int) -> None:
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_third)
    with pytest.raises(StorageFull, match="MB free"):
        staging.write_shard(an_output(), PLAN)
    monkeypatch.setattr(os, "fsync", real)
    assert not list(tmp_path.rglob("*.tmp"))
    assert opened(tmp_path).receipt(0, PLAN) is None
    opened(tmp_path).write_shard(an_output(), PLAN)
    assert opened(tmp_path).receipt(0, PLAN) is not None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is a StagingError that names the path."""
    (tmp_path / "docs").write_text("a file")
    with pytest.raises(StagingError, match=str(tmp_path)):
        planned(tmp_path)


@pytest.mark.parametrize("uri", ["", "nosuch://bucket/x"])
def test_a_wrong_uri_is_a_config_error(uri: str) -> None:
    """The scheme is checked when the staging area is opened."""
    with pytest.raises(ConfigError, match=r"staging\.uri"):
        opened(uri)


def test_free_space_is_known_before_the_folder_exists(tmp_path: Path) -> None:
    """The plan can ask for space before anything is written."""
    free = opened(tmp_path / "not" / "yet").free_bytes()
    assert free is not None
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert not (tmp_path / "not").exists()


def test_zero_rows_and_no_compression_can_be_read(tmp_path: Path) -> None:
    """Each compression that the config allows is written and read."""
    for compression in ("zstd", "lz4", "snappy", "gzip", "none"):
        spec = StagingSpec(uri=str(tmp_path / compression), compression=compression)
        staging = ShardFolders(spec, "docs", VERSION)
        staging.write_manifest(a_manifest())
        staging.write_shard(an_output(), PLAN)
        assert staging.chunks(0).num_rows == 4


def test_receipts_that_are_no_longer_in_memory_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory holds a fixed number of receipts; the others are read again."""
    monkeypatch.setattr(staged_files, "_RECEIPTS", 2)
    staging = opened(tmp_path)
    staging.write_manifest(a_manifest(num_shards=5))
    outputs = [an_output(shard, names=(f"a{shard}", f"b{shard}")) for shard in range(5)]
    for output in outputs:
        staging.write_shard(output, PLAN)
    for _ in range(2):
        for output in outputs:
            wanted = [chunk.id for chunk in output.chunks]
            assert staging.chunk_ids(output.shard).tolist() == wanted
            assert len(staging._files._receipts) <= 2
