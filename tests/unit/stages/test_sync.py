"""A sync brings exactly the difference into the live version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mrag_pipeline.domain.dead_letters import UNREADABLE_FILE
from mrag_pipeline.domain.documents import DeadLetter, Document, chunk_id
from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.errors import (
    FingerprintMismatch,
    IndexUnavailable,
    NoLiveVersion,
    StagingError,
    TooManyDeadLetters,
    TooManyDeleted,
    VerifyFailed,
)
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.stages.sync.compare import SyncScope, check_same_version, compare
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support import living_index as living_module
from tests.support.fake_corpus import FakeCorpusReader
from tests.support.living_index import Living, a_document, assert_same, audited

TEN = [a_document(i) for i in range(10)]


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, and fifty syncs write a thousand files."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def living(tmp_path: Path) -> Living:
    """Ten documents of two chunks each, live."""
    made = Living(tmp_path / "staging", TEN)
    made.ingest()
    made.embedded = 0
    return made


def assert_synced(living: Living, tmp_path: Path) -> None:
    """The version equals one built from the corpus as it is."""
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))


def test_nothing_changed_changes_nothing(living: Living) -> None:
    """Nothing is embedded and nothing written, not even the record."""
    before = living.content(), live_record(living.index).to_json()
    compared, applied = living.sync()
    assert applied is None
    assert compared.difference.is_empty
    assert compared.difference.unchanged == 10
    assert living.embedded == 0
    assert (living.content(), live_record(living.index).to_json()) == before


def test_new_documents_are_added(living: Living, tmp_path: Path) -> None:
    """Only the new ones are embedded."""
    living.items = [*TEN, a_document(10), a_document(11)]
    compared, _ = living.sync()
    assert (compared.difference.added, compared.difference.changed) == (2, 0)
    assert living.embedded == 4
    assert_synced(living, tmp_path)


def test_gone_documents_are_removed(living: Living, tmp_path: Path) -> None:
    """Nothing is embedded; their rows leave every collection."""
    living.items = TEN[3:]
    compared, _ = living.sync()
    assert compared.difference.removed == 3
    assert living.embedded == 0
    assert_synced(living, tmp_path)


def test_changed_documents_are_replaced(living: Living, tmp_path: Path) -> None:
    """Old passages are removed, new ones added, others kept."""
    living.items = [*TEN[:4], a_document(4, edition=1), *TEN[5:]]
    compared, applied = living.sync()
    assert compared.difference.changed == 1
    assert applied is not None
    assert (applied.chunks_added, applied.chunks_removed) == (2, 2)
    assert_synced(living, tmp_path)


def test_a_changed_title_changes_the_same_passages(living: Living, tmp_path: Path) -> None:
    """Passage ids stay, their vectors and rows are new: nothing is lost or counted twice."""
    living.items = [replace(TEN[0], title="Another title"), *TEN[1:]]
    before = live_record(living.index).num_chunks
    living.sync()
    assert live_record(living.index).num_chunks == before
    assert_synced(living, tmp_path)


def test_changed_metadata_is_a_change(living: Living, tmp_path: Path) -> None:
    """Everything stored of a document is compared."""
    living.items = [replace(TEN[0], metadata={"n": 99}), *TEN[1:]]
    assert living.sync()[0].difference.changed == 1
    assert_synced(living, tmp_path)


def test_another_source_is_not_a_change(living: Living) -> None:
    """Renamed files and another order change nothing: only the content counts."""
    living.items = [replace(document, source="elsewhere") for document in reversed(TEN)]
    assert living.sync()[0].difference.is_empty


def test_a_longer_document_keeps_its_first_passages(living: Living, tmp_path: Path) -> None:
    """Chunk ids of both editions are neither deleted nor doubled."""
    longer = replace(TEN[0], text=TEN[0].text + " and more words than before have been added")
    living.items = [longer, *TEN[1:]]
    living.sync()
    assert_synced(living, tmp_path)


def test_a_second_document_of_one_id_is_left_out(living: Living, tmp_path: Path) -> None:
    """The first in the corpus counts, as in a build."""
    living.items = [*TEN, a_document(10), replace(a_document(11), id="d10")]
    compared, _ = living.sync()
    assert compared.difference.num_dead_letters == 1
    assert_synced(living, tmp_path)


def test_bad_documents_are_counted(living: Living, tmp_path: Path) -> None:
    """A document that can no longer be read is removed, as in a build, and reported."""
    living.items = [DeadLetter("d0", "corpus:0", "not UTF-8", ""), *TEN[1:], Document("e", "  ")]
    compared, _ = living.sync()
    assert [letter.document_id for letter in compared.dead_letters] == ["d0", "e"]
    assert live_record(living.index).num_dead_letters == 2
    assert_synced(living, tmp_path)


def test_most_of_the_corpus_gone_is_refused(living: Living) -> None:
    """A wrong path or an empty mount does not empty the index, unless deletes are allowed."""
    living.spec = replace(living.spec, min_deleted=1)
    living.items = TEN[:4]
    before = living.content()
    with pytest.raises(TooManyDeleted, match="6 of 10"):
        living.sync()
    assert living.content() == before
    living.sync(SyncScope(allow_deletes=True))
    assert live_record(living.index).num_documents == 4


def test_all_documents_replaced_is_refused_even_when_few(living: Living) -> None:
    """Ten of ten are gone: below min_deleted, but hardly intended."""
    living.items = [a_document(20)]
    with pytest.raises(TooManyDeleted):
        living.sync()


def test_most_documents_bad_is_refused(living: Living) -> None:
    """The share of dead letters is judged over the whole corpus."""
    living.items = [*TEN, *[DeadLetter(f"x{i}", "", "broken", "") for i in range(12)]]
    with pytest.raises(TooManyDeadLetters):
        living.sync()


def test_a_sync_down_to_one_chunk_and_back(living: Living, tmp_path: Path) -> None:
    """With one chunk nothing spreads, with ten it does again."""
    living.items = [Document("d0", "word")]
    living.sync(SyncScope(allow_deletes=True))
    assert_same(living, living.rebuilt(tmp_path / "one"))
    living.items = list(TEN)
    living.sync()
    assert_same(living, living.rebuilt(tmp_path / "ten"))
    assert not audited(living).findings


def test_another_encoder_is_refused(living: Living) -> None:
    """It says to reindex."""
    living.num_heads = 4
    with pytest.raises(FingerprintMismatch, match="mrag ingest"):
        living.sync()


def test_another_chunking_is_refused(living: Living) -> None:
    """It says to reindex."""
    living.chunking = ChunkingSpec(max_tokens=16)
    with pytest.raises(FingerprintMismatch, match="chunking"):
        living.sync()


def test_the_model_is_not_loaded_where_the_settings_are_the_same(living: Living) -> None:
    """Loading it takes seconds, and the record has its card."""
    record = live_record(living.index)

    def load_card() -> EncoderCard:
        pytest.fail("the model was loaded")

    check_same_version(record, record.chunking, record.encoder.spec, load_card)


def test_a_sync_needs_a_live_version(tmp_path: Path) -> None:
    """There is nothing to compare with."""
    with pytest.raises(NoLiveVersion):
        Living(tmp_path, TEN).sync()


def test_a_head_that_has_lost_rows_stops_before_writing(living: Living) -> None:
    """The vectors to subtract must be there; the error names `mrag repair`."""
    record = live_record(living.index)
    name = record.head_collections()[1]
    living.index.delete(name, [int(i) for block in living.index.ids(name) for i in block])
    living.items = TEN[1:]
    with pytest.raises(VerifyFailed, match="mrag repair"):
        living.sync()
    assert live_record(living.index).to_json() == record.to_json()


def test_a_pending_sync_without_its_plan_is_an_error(living: Living) -> None:
    """Its staging is on another machine, or lost; nothing is guessed."""
    record = live_record(living.index)
    living.index.write_record(replace(record, pending="f" * 32))
    with pytest.raises(StagingError, match="cut short"):
        living.sync()


def _unavailable(*_: object) -> None:
    raise IndexUnavailable("no answer")


def test_an_abandoned_plan_is_replaced(
    living: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that died before it wrote to the index leaves nothing the next one needs."""
    living.items = [*TEN[1:], a_document(10)]
    with monkeypatch.context() as broken:
        broken.setattr(living.index, "vectors", _unavailable)
        with pytest.raises(IndexUnavailable):
            living.sync()
    assert live_record(living.index).pending == ""
    living.items = [*TEN[2:], a_document(11)]
    living.sync()
    assert_synced(living, tmp_path)


def test_a_change_during_a_sync_is_left_to_the_next_sync(
    living: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documents compared are those embedded, whatever the files hold by then."""
    real = compare

    def compare_then_change(*args: object, **named: object) -> object:
        compared = real(*args, **named)  # type: ignore[arg-type]
        living.items = [*TEN, a_document(10, edition=9)]
        return compared

    living.items = [*TEN, a_document(10)]
    with monkeypatch.context() as changing:
        changing.setattr(living_module, "compare", compare_then_change)
        living.sync()
    rows = living.index.chunks_of_document(live_record(living.index).chunks_collection(), "d10")
    assert [row.metadata["edition"] for row in rows] == [0, 0]
    assert living.sync()[0].difference.changed == 1
    assert_synced(living, tmp_path)


def test_a_corpus_that_breaks_while_it_is_read_changes_nothing(
    living: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus read in part deletes nothing."""
    before = living.content()

    def breaks(_self: FakeCorpusReader, slices: object) -> object:
        yield TEN[0]
        raise FingerprintMismatch("the file has changed since it was listed")

    with monkeypatch.context() as breaking:
        breaking.setattr(FakeCorpusReader, "read", breaks)
        with pytest.raises(FingerprintMismatch):
            living.sync()
    assert living.content() == before
    living.items = TEN[1:]
    living.sync()
    assert_synced(living, tmp_path)


def test_replay_takes_only_the_named_documents(living: Living) -> None:
    """Named by id or source; nothing else is added, changed or removed."""
    living.items = [a_document(0, edition=1), *TEN[2:], a_document(10), a_document(11)]
    compared, _ = living.sync(SyncScope(only={"d10", "corpus:11"}))
    assert (compared.difference.added, compared.difference.changed) == (2, 0)
    assert compared.difference.removed == 0
    assert live_record(living.index).num_documents == 12


# ------------------------------------------------------------------ chunk ids that collide
@pytest.fixture
def colliding(living: Living, monkeypatch: pytest.MonkeyPatch) -> Living:
    """A corpus in which d4 (changed), d10 and d12 (new) each have a chunk with another's id."""
    ids = {
        document: chunk_id(document, 0, *first_chunk(living, document)) for document in ("d3", "d5")
    }

    def colliding_id(document: str, start: int, end: int, text: str) -> int:
        if start == 0 and document in ("d11", "d12"):
            return 7
        if start == 0 and document == "d10":
            return ids["d3"]
        if start == 0 and document == "d4":
            return ids["d5"]
        return chunk_id(document, start, end, text)

    monkeypatch.setattr("mrag_pipeline.domain.chunking.chunk_id", colliding_id)
    new = [a_document(number) for number in (10, 11, 12)]
    living.items = [*TEN[:4], a_document(4, edition=1), *TEN[5:], *new]
    return living


def first_chunk(living: Living, document: str) -> tuple[int, str]:
    """The end and the text of the document's first chunk."""
    collection = live_record(living.index).chunks_collection()
    row = living.index.chunks_of_document(collection, document)[0]
    return row.end, row.text


def without_the_colliding(living: Living) -> Living:
    """The same corpus with three documents that cannot be read in place of those that collide."""
    dead = [DeadLetter(f"x{number}", "", "broken", "") for number in range(3)]
    items = [item for item in living.items if item.id not in ("d4", "d10", "d12")]  # type: ignore[union-attr]
    return replace(living, items=[*items, *dead])


def test_a_document_with_the_chunk_id_of_another_is_left_out(
    colliding: Living, tmp_path: Path
) -> None:
    """The chunk that has the id stays, in the index or earlier in the sync; the sync continues."""
    record = live_record(colliding.index)
    colliding.sync()
    assert_same(colliding, without_the_colliding(colliding).rebuilt(tmp_path / "rebuilt"))
    assert not audited(colliding).findings
    left_out = colliding.delta(record).duplicates() or {}
    letters = {letter.document_id: letter for own in left_out.values() for letter in own}
    assert set(letters) == {"d4", "d10", "d12"}
    assert letters["d12"].source == "corpus:12"
    assert "chunk id 7 belongs to an earlier chunk" in letters["d12"].reason
    assert any("3 documents left out" in note for note in colliding.progress.notes)


def test_collisions_are_found_again_after_a_kill(
    colliding: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that died right after storing the documents it leaves out gives the same result."""
    with monkeypatch.context() as broken:
        broken.setattr(colliding.index, "vectors", _unavailable)
        with pytest.raises(IndexUnavailable):
            colliding.sync()
    assert colliding.delta(live_record(colliding.index)).duplicates()
    colliding.sync()
    assert_same(colliding, without_the_colliding(colliding).rebuilt(tmp_path / "rebuilt"))


def test_too_many_collisions_stop_a_sync(colliding: Living) -> None:
    """They count as dead letters; nothing is changed."""
    colliding.ingest_spec = replace(
        colliding.ingest_spec, min_dead_letters=1, max_dead_letter_share=0.1
    )
    before = colliding.content()
    with pytest.raises(TooManyDeadLetters, match="3 of 13 documents"):
        colliding.sync()
    assert colliding.content() == before
    assert live_record(colliding.index).pending == ""


def test_unusual_documents_survive_staging(living: Living, tmp_path: Path) -> None:
    """Ids, texts and metadata with odd characters keep their fingerprint."""
    odd = Document(
        'q"uo\\te\n',
        "text \x01 ä€𝄞 'x' \r\n end",
        "t\t",
        {"f": 0.1, "i": 2**53 + 1, "b": True, "s": "𝄞"},
    )
    living.items = [*TEN, odd]
    living.sync()
    assert living.sync()[0].difference.is_empty
    assert_synced(living, tmp_path)


def test_nothing_is_removed_while_a_file_cannot_be_read(living: Living) -> None:
    """Its documents are not gone: they are kept until the file can be read again."""
    living.items = [DeadLetter("", "b.jsonl.gz", f"{UNREADABLE_FILE}: Truncated", ""), *TEN[1:]]
    compared, _ = living.sync()
    assert compared.difference.removed == 0
    assert live_record(living.index).num_documents == 10
    living.items = TEN[1:]
    assert living.sync()[0].difference.removed == 1


def test_an_open_quote_counts_as_the_rows_it_took_in(living: Living) -> None:
    """One dead letter of 40 rows is above the share that is allowed."""
    living.items = [*TEN, DeadLetter("", "a.csv, byte 9", "a quote is never closed", "", 40)]
    with pytest.raises(TooManyDeadLetters, match="40 of 50"):
        living.sync()
