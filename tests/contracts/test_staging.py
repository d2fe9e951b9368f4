"""What every Staging promises; run by the fake, a local folder, a remote one and real S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.proofs import proofs_of
from mrag_pipeline.errors import FingerprintMismatch, StagingError
from mrag_pipeline.filesystems.location import Place
from mrag_pipeline.ports import ShardOutput, Staging
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import atomic_folder, tables
from mrag_pipeline.staging.shards import open_staging
from tests.support.fake_staging import HEADS, PLAN, FakeStaging, a_manifest, an_output, as_matrix

Opener = Callable[[], Staging]
FOR_SERVERS = ("fake", "file_uri", "s3")  # these stage chunks as a server imports them


@pytest.fixture(params=["fake", "folder", "file_uri", "object_store", "s3"])
def reopen(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opener]:
    """Opens the same staging area again, as another process would."""
    if request.param == "fake":
        fake = FakeStaging()
        yield lambda: fake
        return
    uri = str(tmp_path / "staging")
    if request.param == "file_uri":
        uri = f"file://{uri}"
    elif request.param == "s3":
        uri = f"s3://{request.getfixturevalue('bucket')}/staging"
    elif request.param == "object_store":
        from pyarrow._fs import _MockFileSystem

        store = _MockFileSystem()
        monkeypatch.setattr(atomic_folder, "open_place", lambda uri, what: Place(store, "bucket"))
        assert not isinstance(store, fs.LocalFileSystem)
    import_bytes = 0 if request.param in FOR_SERVERS else inf
    yield lambda: open_staging(StagingSpec(uri=uri), "docs", "vaaaaaaaaaaaa", import_bytes)


@pytest.fixture
def planned(reopen: Opener) -> Opener:
    reopen().write_manifest(a_manifest())
    return reopen


def test_a_new_place_holds_nothing(reopen: Opener) -> None:
    """No plan, no receipt, no duplicates, and looking creates nothing."""
    staging = reopen()
    assert staging.manifest() is None
    assert staging.receipt(0, PLAN) is None
    assert staging.duplicates() is None


def test_the_plan_comes_back_equal(reopen: Opener) -> None:
    """A manifest survives being stored, in every field."""
    manifest = a_manifest(num_shards=3)
    reopen().write_manifest(manifest)
    assert reopen().manifest() == manifest


def test_the_same_plan_may_be_stored_again(planned: Opener) -> None:
    """A second run of the same plan goes on from the first."""
    planned().write_manifest(a_manifest())
    assert planned().manifest() == a_manifest()


def test_another_plan_is_refused(planned: Opener) -> None:
    """Shards of two plans never meet in one place."""
    with pytest.raises(FingerprintMismatch):
        planned().write_manifest(a_manifest(fingerprint="b" * 32))
    assert planned().manifest() == a_manifest()


def test_a_shard_needs_a_plan(reopen: Opener) -> None:
    """Nothing is staged that no plan asked for."""
    with pytest.raises(StagingError):
        reopen().write_shard(an_output(), PLAN)


def test_a_shard_of_another_plan_is_refused(planned: Opener) -> None:
    """The fingerprint that the caller works for must be the stored plan's."""
    with pytest.raises(FingerprintMismatch):
        planned().write_shard(an_output(), "b" * 32)
    assert planned().receipt(0, PLAN) is None


def test_a_receipt_counts_what_was_staged(planned: Opener) -> None:
    """The receipt's figures are the output's, and it is found again."""
    written = planned().write_shard(an_output(shard=1, names=("a", "b", "c")), PLAN)
    found = planned().receipt(1, PLAN)
    assert found == written
    assert (found.num_documents, found.num_chunks, found.num_dead_letters) == (3, 6, 1)
    assert (found.num_tokens, found.num_bytes) == (60, 100)
    assert planned().receipt(0, PLAN) is None


def test_a_receipt_for_another_plan_is_refused(planned: Opener) -> None:
    """A mismatch is an error, not a shard to do again."""
    planned().write_shard(an_output(), PLAN)
    with pytest.raises(FingerprintMismatch):
        planned().receipt(0, "b" * 32)


def test_receipts_come_in_the_order_that_is_asked(planned: Opener) -> None:
    """One for each, None for what is not done; a plan's own only."""
    written = {shard: planned().write_shard(an_output(shard), PLAN) for shard in (0, 1)}
    asked = [1, 5, 0, 1]
    assert list(planned().receipts(asked, PLAN)) == [written.get(shard) for shard in asked]
    with pytest.raises(FingerprintMismatch):
        list(planned().receipts([0], "b" * 32))


def test_chunks_come_back_in_order(planned: Opener) -> None:
    """Every field of every chunk is as it was, the metadata as JSON."""
    output = an_output()
    planned().write_shard(output, PLAN)
    table = planned().chunks(0)
    assert table.column_names == [*tables.CHUNKS.names, "proof"]
    proofs = proofs_of(output.chunks, output.standard, output.vectors)
    assert table["proof"].to_pylist() == proofs
    rows = table.to_pylist()
    assert [row["chunk_id"] for row in rows] == [chunk.id for chunk in output.chunks]
    assert [row["text"] for row in rows] == [chunk.text for chunk in output.chunks]
    assert rows[1]["document_id"] == "a"
    assert (rows[1]["ordinal"], rows[1]["start"], rows[1]["end"]) == (1, 5, 10)
    assert rows[1]["metadata"] == '{"by": "Zoë", "open": true, "score": 0.5, "year": 2024}'
    np.testing.assert_array_equal(as_matrix(table), output.standard)


def test_each_head_has_its_own_vectors(planned: Opener) -> None:
    """Head i's table is row for row `vectors[:, i]`, bit for bit, as list<float32>."""
    output = an_output()
    planned().write_shard(output, PLAN)
    for i, head in enumerate(HEADS):
        table = planned().head(0, head)
        assert table.column_names == ["chunk_id", "vector"]
        assert table.schema.field("vector").type == pa.list_(pa.float32())
        assert table["chunk_id"].to_pylist() == [chunk.id for chunk in output.chunks]
        np.testing.assert_array_equal(as_matrix(table), output.vectors[:, i])


def test_a_heads_file_holds_its_rows_and_nothing_else(planned: Opener) -> None:
    """Known without reading it, by the number of its rows; read, it is the head's table."""
    planned().write_shard(an_output(names=("a", "b", "c")), PLAN)
    planned().write_duplicates({})
    staging = planned()
    paths = set()
    for head in HEADS:
        file = staging.head_file(0, head)
        assert file is not None
        assert file.num_rows == 6
        assert file.num_bytes > 0
        assert file.read().equals(staging.head(0, head))
        paths.add(file.path)
    assert len(paths) == len(HEADS)


def test_a_file_of_chunks_holds_their_rows_and_nothing_else(
    planned: Opener, request: pytest.FixtureRequest
) -> None:
    """Where there is one; read, it is the table with the proofs."""
    planned().write_shard(an_output(names=("a", "b", "c")), PLAN)
    planned().write_duplicates({})
    staging = planned()
    file = staging.chunks_file(0)
    is_for_servers = request.node.callspec.params["reopen"] in FOR_SERVERS
    assert (file is not None) == is_for_servers
    if file is not None:
        assert file.num_rows == 6
        assert file.num_bytes > 0
        assert file.read().equals(staging.chunks(0))


def test_no_file_holds_the_rows_of_a_shard_with_duplicates(planned: Opener) -> None:
    """The staged file has the rows that are left out, too; other shards' are as they were."""
    for shard in (0, 1):
        planned().write_shard(an_output(shard), PLAN)
    planned().write_duplicates({1: [DeadLetter("a", "", "", "")]})
    staging = planned()
    assert staging.head_file(1, HEADS[0]) is None
    assert staging.chunks_file(1) is None
    assert staging.head_file(0, HEADS[0]) is not None


@pytest.mark.parametrize(("dtype", "is_plain"), [("float16", False), ("bfloat16", True)])
def test_a_heads_file_is_float32(reopen: Opener, dtype: str, is_plain: bool) -> None:
    """bfloat16 is stored as float32, rounded; float16 is not."""
    reopen().write_manifest(a_manifest(vector_dtype=dtype))
    reopen().write_shard(an_output(), PLAN)
    assert (reopen().head_file(0, HEADS[0]) is not None) == is_plain


def test_sums_documents_and_dead_letters_come_back_equal(planned: Opener) -> None:
    """Importance is kept to the last bit, the lists in order."""
    output = an_output()
    planned().write_shard(output, PLAN)
    staging = planned()
    sums = staging.sums(0)
    assert sums.num_chunks == 4
    np.testing.assert_array_equal(sums.norm_sum, output.sums.norm_sum)
    np.testing.assert_array_equal(sums.unit_sum, output.sums.unit_sum)
    assert staging.documents(0) == list(output.documents)
    assert staging.dead_letters(0) == list(output.dead_letters)


def test_a_shard_may_hold_no_chunk(planned: Opener) -> None:
    """A shard of dead letters only is a finished shard."""
    output = ShardOutput(
        shard=0,
        chunks=[],
        vectors=np.zeros((0, 2, 4), np.float32),
        standard=np.zeros((0, 6), np.float32),
        sums=ImportanceSums.zero(2, 4),
        documents=[],
        dead_letters=[DeadLetter("", "0.jsonl:1", "not JSON", "")],
        num_tokens=0,
        num_bytes=3,
    )
    planned().write_shard(output, PLAN)
    staging = planned()
    receipt = staging.receipt(0, PLAN)
    assert receipt is not None
    assert receipt.num_chunks == 0
    assert staging.chunks(0).num_rows == staging.head(0, HEADS[0]).num_rows == 0
    assert staging.chunk_ids(0).tolist() == staging.all_chunk_ids(0).tolist() == []
    assert staging.sums(0).num_chunks == 0
    assert len(staging.dead_letters(0)) == 1


def test_the_first_to_finish_a_shard_wins(planned: Opener) -> None:
    """Writing a finished shard again changes nothing, even with other vectors."""
    first = planned().write_shard(an_output(seed=1), PLAN)
    assert planned().write_shard(an_output(seed=2), PLAN) == first
    np.testing.assert_array_equal(
        as_matrix(planned().head(0, HEADS[0])), an_output(seed=1).vectors[:, 0]
    )


def test_duplicates_are_left_out_of_every_table(planned: Opener) -> None:
    """A document that an earlier shard has is in no row, and other shards keep theirs."""
    for shard in (0, 1):
        planned().write_shard(an_output(shard, names=("a", "b")), PLAN)
    letter = DeadLetter("a", "1.jsonl:1", "0.jsonl:1 has this id", "print-a")
    planned().write_duplicates({1: [letter]})
    staging = planned()
    duplicates = staging.duplicates()
    assert duplicates is not None
    assert dict(duplicates) == {1: [letter]}
    kept = [chunk.id for chunk in an_output(1).chunks[2:]]
    assert staging.chunk_ids(1).tolist() == kept
    assert staging.duplicate_chunk_ids(1).tolist() == [c.id for c in an_output(1).chunks[:2]]
    assert staging.all_chunk_ids(1).tolist() == [chunk.id for chunk in an_output(1).chunks]
    assert staging.chunks(1)["document_id"].to_pylist() == ["b", "b"]
    assert staging.head(1, HEADS[1])["chunk_id"].to_pylist() == kept
    np.testing.assert_array_equal(as_matrix(staging.head(1, HEADS[1])), an_output(1).vectors[2:, 1])
    assert len(staging.chunk_ids(0)) == 4


def test_what_is_left_out_can_be_subtracted(planned: Opener) -> None:
    """Sums count all rows; the left-out vectors are there to take off."""
    output = an_output()
    planned().write_shard(output, PLAN)
    planned().write_duplicates({0: [DeadLetter("b", "", "", "")]})
    staging = planned()
    assert staging.sums(0).num_chunks == 4
    assert [row.id for row in staging.documents(0)] == ["a", "b"]
    np.testing.assert_array_equal(staging.duplicate_vectors(0), output.vectors[2:])


def test_no_duplicates_is_an_answer_too(planned: Opener) -> None:
    """None found is not the same as not looked for yet."""
    planned().write_shard(an_output(), PLAN)
    planned().write_duplicates({})
    staging = planned()
    assert staging.duplicates() == {}
    assert len(staging.chunk_ids(0)) == 4
    assert staging.duplicate_vectors(0).shape == (0, 2, 4)
    assert staging.duplicate_chunk_ids(0).tolist() == []


def test_duplicates_may_be_found_anew(planned: Opener) -> None:
    """A later finding replaces the earlier one, in the same object too."""
    planned().write_shard(an_output(), PLAN)
    staging = planned()
    staging.write_duplicates({0: [DeadLetter("a", "", "", "")]})
    assert len(staging.chunk_ids(0)) == 2
    staging.write_duplicates({})
    assert len(staging.chunk_ids(0)) == 4


def test_a_shard_that_is_not_there_cannot_be_read(planned: Opener) -> None:
    """Reading what was never staged is an error of ours, not a traceback of a library."""
    names = ("chunks", "chunk_ids", "all_chunk_ids", "sums", "documents")
    for read in (getattr(planned(), name) for name in names):
        with pytest.raises(StagingError):
            read(0)
    with pytest.raises(StagingError):
        planned().head_file(0, HEADS[0])
    with pytest.raises(StagingError):
        planned().chunks_file(0)
