"""Pushed changes alter the documents that they name, and cost what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.pushes import MAX_KEYS
from mrag_pipeline.domain.remarks import REPLACED
from mrag_pipeline.errors import (
    ConfigError,
    FingerprintMismatch,
    TooFewChunks,
    TooManyDeadLetters,
    TooManyDeleted,
)
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import Mark
from mrag_pipeline.stages.sync.compare import SyncScope
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living, a_document, assert_same, audited

TEN = [a_document(i) for i in range(10)]


class PointIndex(ExactIndex):
    """Refuses whatever reads a whole collection."""

    is_strict = False

    def marks(self, collection, *ids):  # type: ignore[no-untyped-def]
        assert not self.is_strict, f"all marks of {collection} were read"
        return super().marks(collection, *ids)

    def marks_of(self, collection: str, document_ids: Sequence[str]) -> list[Mark]:
        strict, self.is_strict = self.is_strict, False
        try:
            return super().marks_of(collection, document_ids)
        finally:
            self.is_strict = strict

    def ids(self, collection):  # type: ignore[no-untyped-def]
        assert not self.is_strict, f"all ids of {collection} were read"
        return super().ids(collection)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def living(tmp_path: Path) -> Living:
    """Ten documents of two chunks each, live."""
    made = Living(tmp_path / "staging", TEN, index=PointIndex("docs"))
    made.ingest()
    made.embedded = 0
    return made


def assert_holds(living: Living, documents: Sequence[Document], tmp_path: Path) -> None:
    """The version equals one built from these documents."""
    living.items = documents
    assert_same(living, living.rebuilt(tmp_path / "rebuilt"))
    assert not audited(living).findings


def test_a_push_equals_a_build_of_the_documents(living: Living, tmp_path: Path) -> None:
    """Added, replaced and deleted documents; all others are neither read nor embedded."""
    assert isinstance(living.index, PointIndex)
    living.index.is_strict = True
    pushed, applied = living.push([a_document(3, edition=1), a_document(11)], deleted=["d5"])
    living.index.is_strict = False
    difference = pushed.compared.difference
    assert (difference.added, difference.changed, difference.removed) == (1, 1, 1)
    assert living.embedded == 4
    assert applied is not None
    assert (applied.chunks_added, applied.chunks_removed) == (4, 4)
    left = [a_document(3, edition=1) if d.id == "d3" else d for d in TEN if d.id != "d5"]
    assert_holds(living, [*left, a_document(11)], tmp_path)


def test_the_same_again_changes_nothing(living: Living) -> None:
    """Nothing is embedded, no sync is counted: an upsert is idempotent without a key too."""
    living.push([a_document(11)], deleted=["d5"])
    before = living.content(), live_record(living.index).to_json()
    living.embedded = 0
    pushed, applied = living.push([a_document(11)], deleted=["d5"])
    assert applied is None
    assert (pushed.compared.difference.unchanged, pushed.unknown) == (1, 1)
    assert living.embedded == 0
    assert (living.content(), live_record(living.index).to_json()) == before


def test_equal_texts_in_other_documents_stay(living: Living, tmp_path: Path) -> None:
    """Two documents of one text are two; deleting one leaves the other."""
    twin = replace(TEN[0], id="twin")
    living.push([twin])
    living.push(deleted=["d0"])
    assert_holds(living, [*TEN[1:], twin], tmp_path)


def test_a_shorter_text_leaves_no_old_passage(living: Living, tmp_path: Path) -> None:
    """The passages that the new text has keep their ids, the others go."""
    shorter = replace(TEN[0], text=" ".join(TEN[0].text.split()[:8]))
    living.push([shorter])
    assert_holds(living, [shorter, *TEN[1:]], tmp_path)


def test_of_one_id_the_last_counts(living: Living, tmp_path: Path) -> None:
    """A batch of a change log: what a later document replaces is counted, not embedded."""
    batch = [a_document(0, edition=1), a_document(11), a_document(0, edition=2)]
    pushed, _ = living.push(batch)
    assert pushed.compared.remarks == {REPLACED: 1}
    assert living.embedded == 4
    assert_holds(living, [a_document(0, edition=2), *TEN[1:], a_document(11)], tmp_path)


def test_changes_are_applied_once_under_a_key(living: Living) -> None:
    """A message that is delivered again later does not undo what came after it."""
    living.push([a_document(0, edition=1)], key="message-1")
    living.push([a_document(0, edition=2)], key="message-2")
    after = living.content()
    pushed, applied = living.push([a_document(0, edition=1)], key="message-1")
    assert pushed.repeated
    assert applied is None
    assert living.content() == after


def test_a_key_of_changes_that_altered_nothing_is_remembered(living: Living) -> None:
    """They come late the second time too."""
    living.push([TEN[0]], key="message-1")
    living.push([a_document(0, edition=1)], key="message-2")
    assert living.push([TEN[0]], key="message-1")[0].repeated


def test_a_key_stands_for_its_changes(living: Living) -> None:
    """Other changes under it are refused; nothing is changed."""
    living.push([a_document(11)], key="message-1")
    before = living.content()
    for documents, deleted in (([a_document(12)], []), ([a_document(11)], ["d1"])):
        with pytest.raises(FingerprintMismatch, match="the key was used before"):
            living.push(documents, deleted, key="message-1")
    assert living.content() == before


def test_the_oldest_keys_are_forgotten(living: Living) -> None:
    """The record stays small."""
    keys = tuple(f"{number:016x}:0" for number in range(MAX_KEYS))
    living.index.write_record(replace(live_record(living.index), push_keys=keys))
    living.push([a_document(11)], key="message-1")
    remembered = live_record(living.index).push_keys
    assert remembered[:-1] == keys[1:]
    assert len(remembered) == MAX_KEYS


def test_a_push_of_no_change_to_a_document_and_its_deletion_is_refused(living: Living) -> None:
    """Which of them comes first would be a guess."""
    with pytest.raises(ConfigError, match="both given and to be deleted"):
        living.push([a_document(0, edition=1)], deleted=["d0"])


def test_what_cannot_be_read_is_set_aside(living: Living) -> None:
    """The others are pushed; the version's count of its corpus's dead letters stays."""
    living.ingest_spec = replace(living.ingest_spec, min_dead_letters=5)
    broken = DeadLetter("d12", "line 2", "not JSON", "")
    pushed, applied = living.push([a_document(11), broken, Document("blank", " ")])
    assert [letter.document_id for letter in pushed.compared.dead_letters] == ["d12", "blank"]
    assert applied is not None
    assert live_record(living.index).num_dead_letters == 0
    living.ingest_spec = replace(living.ingest_spec, min_dead_letters=1)
    with pytest.raises(TooManyDeadLetters, match="nothing was changed"):
        living.push([broken])


def test_deleting_everything_is_refused(living: Living) -> None:
    """An index needs a chunk; to remove it, there is `mrag retire`."""
    before = living.content()
    with pytest.raises(TooFewChunks):
        living.push(deleted=[document.id for document in TEN])
    assert living.content() == before


def test_a_sync_does_not_remove_what_was_pushed_unasked(living: Living, tmp_path: Path) -> None:
    """It makes the version equal to the corpus: where that deletes after a push, it asks."""
    living.push([a_document(11)])
    with pytest.raises(TooManyDeleted, match=r"1 documents of .* 1 change\(s\) were pushed"):
        living.sync()
    living.sync(SyncScope(allow_deletes=True))
    assert_holds(living, TEN, tmp_path)
    assert live_record(living.index).pushes == 0
    living.items = TEN[1:]
    living.sync()


def test_a_corpus_that_has_what_was_pushed_is_synced_as_ever(living: Living) -> None:
    """Once a sync has found the version equal to its corpus, deletions are the corpus's."""
    living.push([a_document(11)], deleted=["d1"])
    living.items = [d for d in [*TEN, a_document(11)] if d.id != "d1"]
    compared, applied = living.sync()
    assert applied is None
    assert compared.difference.is_empty
    assert live_record(living.index).pushes == 0
    living.items = living.items[1:]
    assert living.sync()[0].difference.removed == 1


def test_trying_dead_letters_again_leaves_the_pushes_counted(living: Living) -> None:
    """A part of the corpus says nothing about the rest."""
    living.push([a_document(11)])
    living.items = [*TEN, a_document(12)]
    living.sync(SyncScope(only=frozenset({"d12"})))
    assert live_record(living.index).pushes == 1
