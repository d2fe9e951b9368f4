"""Files that have not changed are not read again; what is found is what reading all finds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from mrag_pipeline.domain.dead_letters import PARSER_ENDED, TOO_SLOW, UNREADABLE_FILE
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import StagingError, StorageFull
from mrag_pipeline.ports import SliceRead
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sync import item_comparison
from mrag_pipeline.stages.sync.compare_items import CorpusComparer
from mrag_pipeline.stages.sync.compared_rows import Tally
from mrag_pipeline.stages.sync.item_comparison import ItemComparison
from mrag_pipeline.stages.sync.unread_files import UnreadFiles, cache_key
from tests.support.builds import RecordingProgress, a_document
from tests.support.fake_delta_staging import FakeDeltaStaging
from tests.support.fake_files import FakeFile, FakeFiles
from tests.support.fake_read_cache import FakeReadCache
from tests.support.fake_rows import FakeRows


@dataclass(frozen=True)
class Found:
    """What a comparison found."""

    tally: Tally
    dead: list[DeadLetter]
    remarks: dict[str, int]
    stored: list[object]
    removed: list[int]
    num_files: int
    num_unread: int
    notes: list[str]

    def alike(self) -> tuple[object, ...]:
        """What does not depend on which files were read."""
        return (self.tally, self.dead, self.remarks, self.stored, self.removed)


def compared(
    corpus: FakeFiles,
    cache: FakeReadCache | None,
    version: Sequence[Document] = (),
    key: str = "key",
    is_full: bool = False,
) -> Found:
    """Compares the corpus with the version, and stores what differs."""
    staging, progress = FakeDeltaStaging(), RecordingProgress()
    work = CorpusComparer("docs_v1_chunks", corpus, staging, FakeRows(version))  # type: ignore[arg-type]
    files = UnreadFiles(cache, key, progress, is_full)
    with closing(ItemComparison(work, in_this_process, progress, False, files)) as comparison:
        comparison.read()
        slices, marks = comparison.store(is_gone_removed=True)
        for name, total, _ in progress.phases:
            assert progress.done[name] == total
        return Found(
            comparison.tally,
            list(comparison.dead),
            comparison.remarks,
            list(staging.reader().read(slices)),
            sorted(mark.id for block in marks for mark in block),
            files.num_files,
            files.num_unread,
            progress.notes,
        )


def a_corpus(num_files: int = 3) -> FakeFiles:
    """Files of three documents each, in slices of two."""
    return FakeFiles(
        {
            f"{file}.jsonl": FakeFile([a_document(3 * file + number) for number in range(3)])
            for file in range(num_files)
        }
    )


def in_version(corpus: FakeFiles) -> list[Document]:
    """A version that is equal to the corpus."""
    held = [item for file in corpus.files.values() for item in file.items]
    return [item for item in held if isinstance(item, Document)]


def forgotten(corpus: FakeFiles) -> FakeFiles:
    """The corpus, with nothing counted."""
    return FakeFiles(corpus.files, corpus.step)


def test_an_unchanged_corpus_is_not_opened_again() -> None:
    """Its documents are all known, and nothing is written."""
    corpus, cache = a_corpus(), FakeReadCache()
    version = in_version(corpus)
    first = compared(corpus, cache, version)
    again = forgotten(corpus)
    second = compared(again, cache, version)
    assert (first.num_unread, second.num_unread, second.num_files) == (0, 3, 3)
    assert (again.opened, again.read_paths) == ([], [])
    assert second.alike() == first.alike()
    assert second.tally == Tally(9, 9, 9)
    assert cache.num_writes == 1


def test_a_changed_file_is_read() -> None:
    """And no other; its changes are found and kept for the next time."""
    corpus, cache = a_corpus(), FakeReadCache()
    version = in_version(corpus)
    compared(corpus, cache, version)
    new = replace(a_document(4), text="another text")
    corpus.files["1.jsonl"] = FakeFile([a_document(3), new, a_document(50)], edition=2)
    again = forgotten(corpus)
    found = compared(again, cache, version)
    assert again.opened == ["1.jsonl"]
    assert set(again.read_paths) == {"1.jsonl"}
    assert found.stored == [new, a_document(50)]
    assert found.tally == Tally(9, 9, 8, added=1, changed=1)
    third = forgotten(corpus)
    assert compared(third, cache, version).tally == found.tally
    assert third.opened == []


def test_a_file_that_is_gone_takes_its_documents_along() -> None:
    """What was read of it is not kept either."""
    corpus, cache = a_corpus(), FakeReadCache()
    version = in_version(corpus)
    compared(corpus, cache, version)
    del corpus.files["0.jsonl"]
    found = compared(corpus, cache, version)
    assert found.tally == Tally(9, 6, 6)
    assert len(found.removed) == 6
    files = cache.load("key")
    assert files is not None
    assert files.num_files == 2


def test_full_reads_every_file_and_keeps_it() -> None:
    """What was kept is neither believed nor left."""
    corpus, cache = a_corpus(), FakeReadCache()
    compared(corpus, cache)
    corpus.files["2.jsonl"].items[0] = a_document(99)  # its stamp is what it was
    assert compared(forgotten(corpus), cache).tally.seen == 9
    again = forgotten(corpus)
    found = compared(again, cache, is_full=True)
    assert again.opened == sorted(corpus.files)
    assert a_document(99) in found.stored
    assert found.num_unread == 0
    assert cache.num_writes == 2


def test_another_key_reads_every_file() -> None:
    """Other fields, another fingerprint: what was kept says nothing."""
    corpus, cache = a_corpus(), FakeReadCache()
    compared(corpus, cache, key=cache_key({"text": "body", "id": "id"}))
    assert cache_key({"id": "id", "text": "body"}) == cache_key({"text": "body", "id": "id"})
    again = forgotten(corpus)
    compared(again, cache, key=cache_key({"text": "title", "id": "id"}))
    assert again.opened == sorted(corpus.files)


def test_the_key_follows_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is compared with what the version has: both are made in one way."""
    before = cache_key({})
    monkeypatch.setattr(
        "mrag_pipeline.stages.sync.unread_files.document_fingerprint", lambda _: "another"
    )
    assert cache_key({}) != before


def test_a_file_without_a_validator_is_read_each_time() -> None:
    """It has just changed, or its filesystem keeps no time."""
    corpus, cache = a_corpus(), FakeReadCache()
    corpus.files["1.jsonl"].has_validator = False
    compared(corpus, cache)
    again = forgotten(corpus)
    found = compared(again, cache)
    assert again.opened == ["1.jsonl"]
    assert (found.num_files, found.num_unread, cache.num_writes) == (3, 2, 1)


@pytest.mark.parametrize("reason", [f"{UNREADABLE_FILE}: cut short", TOO_SLOW, PARSER_ENDED])
def test_a_file_that_may_be_read_another_time_is_tried_again(reason: str) -> None:
    """Whole, though only one of its documents was set aside."""
    corpus, cache = a_corpus(), FakeReadCache()
    corpus.files["1.jsonl"].items[2] = DeadLetter("", "1.jsonl", reason, "")
    first = compared(corpus, cache)
    again = forgotten(corpus)
    second = compared(again, cache)
    assert again.opened == ["1.jsonl"]
    assert second.alike() == first.alike()
    assert cache.num_writes == 1  # it is as it was


def test_dead_letters_of_unread_files_are_told() -> None:
    """With their remarks, in the order of the corpus."""
    corpus, cache = a_corpus(), FakeReadCache()
    corpus.files["0.jsonl"].items.insert(1, DeadLetter("x", "0.jsonl:2", "not UTF-8", "", 4))
    corpus.files["0.jsonl"].items[0] = replace(a_document(0), remarks=("cut",))
    corpus.files["1.jsonl"].items.append(replace(a_document(70), text="  "))
    corpus.files["2.jsonl"].items.append(replace(a_document(0), source="2.jsonl:4"))
    first = compared(corpus, cache)
    again = forgotten(corpus)
    second = compared(again, cache)
    assert again.opened == []
    assert second.alike() == first.alike()
    assert [letter.document_id for letter in second.dead] == ["x", "d70", "d0"]
    assert second.remarks == {"cut": 1}


@pytest.mark.parametrize("seed", range(12))
def test_what_is_found_is_what_reading_all_finds(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes between comparisons, of several items and in slices that are joined."""
    monkeypatch.setattr(item_comparison, "ITEM_BYTES", 5)
    rng = random.Random(seed)
    corpus, cache = a_corpus(8), FakeReadCache()
    version = in_version(corpus)[:20]
    for _ in range(4):
        found = compared(forgotten(corpus), cache, version)
        expected = compared(forgotten(corpus), None, version)
        assert found.alike() == expected.alike()
        for path in rng.sample(sorted(corpus.files), 3):
            changed(rng, corpus, path)
    assert cache.num_writes > 1
    assert compared(forgotten(corpus), cache, version).num_unread > 0


def changed(rng: random.Random, corpus: FakeFiles, path: str) -> None:
    """The file is gone, or has other items; another may come beside it."""
    kind = rng.random()
    file = corpus.files[path]
    if kind < 0.2 and len(corpus.files) > 4:
        del corpus.files[path]
        return
    items = list(file.items)
    number = rng.randrange(200)
    edition = f"edition {rng.randrange(2)}"
    more: Document | DeadLetter = replace(a_document(number), text=edition)
    if kind < 0.4:
        more = DeadLetter(f"x{number}", path, "not UTF-8", "")
    elif kind < 0.6:
        more = replace(a_document(number), text=edition, remarks=("told",))
    items.insert(rng.randrange(len(items) + 1), more)
    if kind > 0.8:
        items.pop(0)
    edited = FakeFile(items, file.edition + 1, has_validator=rng.random() < 0.8)
    corpus.files[path if kind < 0.7 else f"{path}.{number}"] = edited


class Broken(FakeReadCache):
    """A cache that can be neither read nor written."""

    def load(self, key: str) -> None:
        raise StagingError("cache.json is missing or damaged")

    def write(self, key: str, reads: object) -> None:
        raise StorageFull("no space left")


def test_a_cache_that_fails_costs_time_only() -> None:
    """Every file is read, and the run says why."""
    found = compared(a_corpus(), Broken())
    assert found.tally.seen == 9
    assert [note.split(":")[0] for note in found.notes] == [
        "cache.json is missing or damaged; every file is read again",
        "the next sync reads every file again",
    ]


class Damaged(FakeReadCache):
    """A cache of which a part is damaged."""

    def load(self, key: str):  # type: ignore[no-untyped-def]
        files = super().load(key)
        if files is not None:
            files.problem = "00001.parquet is missing or damaged"
            files._files = {key: own for key, own in files._files.items() if key[0] != "1.jsonl"}
        return files


def test_what_is_damaged_is_read_again() -> None:
    """And said in a line; the cache is whole afterwards."""
    corpus, cache = a_corpus(), Damaged()
    compared(corpus, cache)
    again = forgotten(corpus)
    found = compared(again, cache)
    assert again.opened == ["1.jsonl"]
    assert found.notes == ["00001.parquet is missing or damaged; these files are read again"]
    assert cache.num_writes == 2


def test_nothing_is_kept_of_a_comparison_that_fails() -> None:
    """The earlier cache stays: a kill before the end leaves it too."""
    corpus, cache = a_corpus(), FakeReadCache()
    compared(corpus, cache)

    class Moved(FakeFiles):
        def read(self, slices):  # type: ignore[no-untyped-def]
            self.files["1.jsonl"].edition += 1
            return super().read(slices)

    corpus.files["1.jsonl"] = FakeFile([a_document(60)], edition=2)
    with pytest.raises(Exception, match="has changed"):
        compared(Moved(corpus.files), cache)
    assert cache.num_writes == 1


def test_a_slice_read_is_what_the_file_holds() -> None:
    """A row for each document, and each dead letter with its place."""
    corpus, cache = FakeFiles({"a": FakeFile([])}, step=4), FakeReadCache()
    letter = DeadLetter("x", "a:2", "not UTF-8", "")
    corpus.files["a"].items = [a_document(0), letter, a_document(1)]
    compared(corpus, cache)
    files = cache.load("key")
    assert files is not None
    [read] = files.slices("a", "1")
    assert isinstance(read, SliceRead)
    assert read.rows["size"].tolist() == [len(a_document(n).text) for n in (0, 1)]
    assert read.dead == ((1, letter),)
