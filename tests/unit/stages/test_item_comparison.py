"""A comparison by items finds and stores what a comparison of everything at once would."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from mrag_pipeline.domain.dispatch import reads_on
from mrag_pipeline.domain.documents import DeadLetter, Document, document_fingerprint
from mrag_pipeline.domain.planning import Shard, Slice, cut
from mrag_pipeline.errors import StorageFull
from mrag_pipeline.ports import Mark
from mrag_pipeline.stages.serial_pool import SerialPool, in_this_process
from mrag_pipeline.stages.sync import compare_items, item_comparison
from mrag_pipeline.stages.sync.compare_items import CorpusComparer
from mrag_pipeline.stages.sync.item_comparison import ItemComparison
from mrag_pipeline.stages.sync.read_plan import ReadPlan
from mrag_pipeline.stages.sync.unread_files import UnreadFiles
from tests.support.builds import RecordingProgress, a_document
from tests.support.fake_corpus import FakeCorpusReader
from tests.support.fake_delta_staging import FakeDeltaStaging
from tests.support.fake_rows import FakeRows

Items = Sequence[Document | DeadLetter]


def a_comparison(
    items: Items | FakeCorpusReader, version: Sequence[Document], only: set[str] | None = None
) -> tuple[ItemComparison, FakeDeltaStaging, RecordingProgress]:
    reader = items if isinstance(items, FakeCorpusReader) else FakeCorpusReader(items)
    staging, progress = FakeDeltaStaging(), RecordingProgress()
    work = CorpusComparer("docs_v1_chunks", reader, staging, FakeRows(version), only)  # type: ignore[arg-type]
    return (
        ItemComparison(work, in_this_process, progress, False, UnreadFiles(None, "", progress)),
        staging,
        progress,
    )


def stored(comparison: ItemComparison, is_gone_removed: bool) -> tuple[list[Slice], list[Mark]]:
    slices, blocks = comparison.store(is_gone_removed)
    return slices, [mark for block in blocks for mark in block]


@pytest.fixture(params=["whole", "in pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in one item and in memory; or some documents an item, little in memory."""
    if request.param == "in pieces":
        monkeypatch.setattr(item_comparison, "ITEM_BYTES", 200)
        monkeypatch.setattr(item_comparison, "ROWS_IN_MEMORY", 7)
        monkeypatch.setattr(item_comparison, "shard_bytes", lambda *_: 150)
        monkeypatch.setattr(compare_items, "MARKS_ROWS", 5)


def random_corpus(rng: random.Random, version: Sequence[Document]) -> list[Document | DeadLetter]:
    """Some as they were, some changed, some new, some bad, some there again."""
    items: list[Document | DeadLetter] = []
    for number, document in enumerate(version):
        kind = rng.random()
        if kind < 0.5:
            items.append(document)
        elif kind < 0.7:
            items.append(replace(document, text=document.text + " changed", remarks=("cut",)))
        elif kind < 0.75:
            items.append(DeadLetter(document.id, f"corpus:{number}", "not UTF-8", ""))
        elif kind < 0.8:
            items.append(replace(document, text=" "))
        if rng.random() < 0.2:
            items.append(a_document(1_000 + number))
        if items and rng.random() < 0.2:
            again = rng.choice(items)
            if isinstance(again, Document):
                items.append(replace(again, source=f"again:{number}", remarks=("told",)))
    return items


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("seed", range(6))
def test_it_finds_and_stores_the_difference(seed: int) -> None:
    """Documents, dead letters in the order of the corpus, remarks, and the chunks to remove."""
    rng = random.Random(seed)
    version = [a_document(number) for number in range(rng.choice([0, 3, 90]))]
    items = random_corpus(rng, version) or [a_document(7)]
    known = {document.id: document_fingerprint(document) for document in version}
    firsts: dict[str, Document] = {}
    dead: list[str] = []
    remarks: dict[str, int] = {}
    for item in items:
        if isinstance(item, DeadLetter) or not item.text.strip():
            dead.append(item.document_id if isinstance(item, DeadLetter) else item.id)
        elif item.id in firsts:
            dead.append(item.id)
        else:
            firsts[item.id] = item
            remarks |= {remark: remarks.get(remark, 0) + 1 for remark in item.remarks}
    differing = [d for d in firsts.values() if known.get(d.id) != document_fingerprint(d)]
    outdated = {d.id for d in differing} | (known.keys() - firsts.keys())

    comparison, staging, progress = a_comparison(items, version)
    with closing(comparison):
        comparison.read()
        num_dead = comparison.num_dead
        slices, marks = stored(comparison, is_gone_removed=True)
    assert list(staging.reader().read(slices)) == differing
    assert [m.id for m in marks] == sorted(
        m.id for m in FakeRows(version).held if m.document_id in outdated
    )
    assert [letter.document_id for letter in comparison.dead] == dead
    assert num_dead == len(dead)
    assert comparison.remarks == remarks
    tally = comparison.tally
    assert (tally.known, tally.seen) == (len(known), len(firsts))
    assert tally.added == sum(document.id not in known for document in differing)
    assert tally.changed == len(differing) - tally.added
    for name, total, unit in progress.phases:
        assert (progress.done[name], unit) == (total, "items")


@pytest.mark.usefixtures("_pieces")
def test_only_what_is_named_is_stored() -> None:
    """By id or by source; the others are neither new nor changed."""
    version = [a_document(number) for number in range(10)]
    items = [replace(document, text="another text") for document in version]
    items += [a_document(20), a_document(21)]
    comparison, staging, _ = a_comparison(items, version, {"d3", "corpus:21"})
    with closing(comparison):
        comparison.read()
        slices, marks = stored(comparison, is_gone_removed=False)
    assert [document.id for document in staging.reader().read(slices)] == ["d3", "d21"]  # type: ignore[union-attr]
    assert {mark.document_id for mark in marks} == {"d3"}


class Moving(FakeCorpusReader):
    """A database that another writes to: what is read the second time is `later`."""

    def __init__(self, items: Items, later: Items) -> None:
        super().__init__(items)
        self._later = list(later)
        self._is_read = False

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        yield from self._later if self._is_read else self.items
        self._is_read = True


def test_rows_that_came_or_went_meanwhile_take_no_others_place() -> None:
    """The documents that differed are stored as they are when they are stored."""
    version = [a_document(number) for number in range(4)]
    changed = replace(version[2], text="another text")
    newer = replace(version[2], text="an even newer text")
    items = [*version[:2], changed, version[3], a_document(8), a_document(9)]
    later = [a_document(30), *version[:2], newer, version[3], a_document(9)]
    comparison, staging, _ = a_comparison(Moving(items, later), version)
    with closing(comparison):
        comparison.read()
        slices, marks = stored(comparison, is_gone_removed=True)
    assert list(staging.reader().read(slices)) == [newer, a_document(9)]
    assert {mark.document_id for mark in marks} == {"d2"}


def test_what_cannot_be_read_a_second_time_stays_as_it_is() -> None:
    """Its chunks are not removed, nothing takes their place, and it is told."""
    version = [a_document(number) for number in range(4)]
    changed = [replace(one, text=f"{one.text} changed") for one in version]
    lost = DeadLetter("d1", "fake", "its parser ended with status -9", "")
    items = [*changed[:3], a_document(8)]
    later: Items = [changed[0], lost, replace(changed[2], text=" "), a_document(8)]
    comparison, staging, progress = a_comparison(Moving(items, later), version)
    with closing(comparison):
        comparison.read()
        slices, marks = stored(comparison, is_gone_removed=True)
    assert list(staging.reader().read(slices)) == [changed[0], a_document(8)]
    assert {mark.document_id for mark in marks} == {"d0", "d3"}
    (told,) = progress.notes
    assert told.startswith("2 new or changed documents could not be read a second time")


def test_chunks_that_looking_up_does_not_know_yet_are_found() -> None:
    """A server's look-up may be behind its last writes; then old rows would stay."""
    version = [a_document(number) for number in range(300)]
    comparison, _, _ = a_comparison([replace(version[0], text="another"), *version[1:]], version)
    comparison._work.index.look_up = lambda *_: ({}, {})  # type: ignore[union-attr, method-assign]
    with closing(comparison):
        comparison.read()
        _, marks = stored(comparison, is_gone_removed=True)
    assert [mark.document_id for mark in marks] == ["d0", "d0"]


def test_what_differs_is_stored_and_looked_up_in_one_run() -> None:
    """No worker waits between them; items that store are made as the pool asks for them."""
    version = [a_document(number) for number in range(4)]
    reader = FakeCorpusReader([replace(document, text="another") for document in version])
    runs: list[list[str]] = []

    class Pool(SerialPool):
        def run(self, items: Iterable[Any]) -> Iterator[Any]:
            runs.append([])
            for item in items:
                runs[-1].append(type(item).__name__)
                yield from super().run([item])

    work = CorpusComparer("docs_v1_chunks", reader, FakeDeltaStaging(), FakeRows(version))  # type: ignore[arg-type]
    progress = RecordingProgress()
    files = UnreadFiles(None, "", progress)
    comparison = ItemComparison(work, lambda work, _: Pool(lambda: work), progress, True, files)
    with closing(comparison):
        comparison.read()
        _, marks = stored(comparison, is_gone_removed=True)
    assert runs == [["PlannedRead", "MarksItem"], ["StoreItem", "OutdatedItem"]]
    assert {mark.document_id for mark in marks} == {document.id for document in version}


def test_an_item_reaches_a_worker_with_its_slices() -> None:
    """They are on this process's disk until then; odd file names survive."""
    slices = [
        Slice(f"ä\udcff{number}.txt", "file", 0, 1, 10, f"10-{number}") for number in range(9)
    ]
    with closing(ReadPlan()) as plan:
        for shard in cut(slices, 30):
            plan.add(shard, ["validator"] * len(shard.slices), range(len(shard.slices)))
        sent = [pickle.loads(pickle.dumps(item)) for item in plan.items]
        here = [item.to_read() for item in plan.items]
        assert {validator for item in plan.items for validator in item.validators} == {"validator"}
    assert sent == here
    assert [piece for item in sent for piece in item.slices] == slices
    assert [item.index for item in sent] == [0, 1, 2]


def test_a_worker_reads_on_in_a_compressed_file() -> None:
    """Whether its items are shards or parts of a comparison."""
    pieces = [Slice("a.gz", "records", 5 * n, 5 * n + 5, 10, "1") for n in range(3)]
    with closing(ReadPlan()) as plan:
        for number, piece in enumerate(pieces):
            plan.add(Shard(number, (piece,)), [""], [0])
        first, second, third = plan.items
        assert reads_on(first, second)
        assert not reads_on(first, third)


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the list of files too."""
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        with closing(ReadPlan()) as plan, pytest.raises(StorageFull, match="TMPDIR"):
            plan.add(Shard(0, (Slice("a", "file", 0, 1, 1, ""),)), [""], [0])
