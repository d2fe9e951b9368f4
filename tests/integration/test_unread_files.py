"""A sync opens no file that has not changed: real files, a real cache, the product's own stages."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mrag_pipeline.corpus import source_file
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.corpus.source_file import SourceFile, file_on_disk
from mrag_pipeline.domain.dead_letters import UNREADABLE_FILE
from mrag_pipeline.ports import CorpusReader, ListedSlice, ListingReader
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.stages.sync.compare import SyncScope
from tests.support.living_index import Living, content_of
from tests.support.s3_server import Server
from tests.support.scripted_kills import Killed, Switch

DAY_NS = 86_400 * 10**9


@dataclass
class OnFiles(Living):
    """A living index whose corpus is real files."""

    corpus: CorpusSpec = field(default_factory=lambda: CorpusSpec(""))

    def reader(self) -> CorpusReader:  # type: ignore[override]
        return open_corpus(self.corpus)


@pytest.fixture
def _quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock has no steps: a file has its validator as soon as it is written."""
    monkeypatch.setattr(source_file, "_CLOCK_STEP_NS", 0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of files that are opened, as they are."""
    paths: list[str] = []
    reading = FileTree.reading

    @contextmanager
    def counted(tree: FileTree, path: str) -> Iterator[None]:
        paths.append(path)
        with reading(tree, path):
            yield

    monkeypatch.setattr(FileTree, "reading", counted)
    return paths


def lines(*names: str) -> bytes:
    """JSON Lines: a document of each name."""
    return b"".join(
        json.dumps({"id": name, "text": f"the harbour of {name} at night"}).encode() + b"\n"
        for name in names
    )


def living_on(folder: Path, spec: CorpusSpec) -> OnFiles:
    """An index of the corpus, compared once."""
    living = OnFiles(folder / "staging", [], corpus=spec)
    living.ingest()
    living.sync()
    return living


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four files; one of them compressed, one of them with a line that is no document."""
    folder = tmp_path / "corpus"
    (folder / "below").mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(lines("a1", "a2"))
    (folder / "b.jsonl").write_bytes(lines("b1") + b"no document\n" + lines("b2"))
    (folder / "below" / "c.jsonl.gz").write_bytes(gzip.compress(lines("c1", "c2", "c3")))
    (folder / "d.jsonl").write_bytes(lines("d1"))
    return folder


@pytest.mark.usefixtures("_quick_clock")
def test_an_unchanged_corpus_is_not_opened(corpus: Path, tmp_path: Path, opened: list[str]) -> None:
    """Its dead letters are told all the same; `full` opens every file."""
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="jsonl"))
    opened.clear()
    compared, _ = living.sync()
    assert opened == []
    assert (compared.files, compared.unread_files) == (4, 4)
    assert compared.difference.is_empty
    assert [letter.source for letter in compared.dead_letters] == ["b.jsonl, byte 51"]
    assert "4 of 4 files unchanged, not read" in living.progress.notes
    full, _ = living.sync(SyncScope(full=True))
    assert set(opened) == {"a.jsonl", "b.jsonl", "below/c.jsonl.gz", "d.jsonl"}
    assert (full.unread_files, full.dead_letters) == (0, compared.dead_letters)


@pytest.mark.usefixtures("_quick_clock")
def test_only_files_that_changed_are_opened(
    corpus: Path, tmp_path: Path, opened: list[str]
) -> None:
    """One is written anew, one is touched, one is gone, one is new."""
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="jsonl"))
    (corpus / "a.jsonl").write_bytes(lines("a1", "a3"))
    os.utime(corpus / "below" / "c.jsonl.gz", ns=(DAY_NS, DAY_NS))
    (corpus / "d.jsonl").unlink()
    (corpus / "e.jsonl").write_bytes(lines("e1"))
    opened.clear()
    compared, _ = living.sync()
    assert set(opened) == {"a.jsonl", "below/c.jsonl.gz", "e.jsonl"}
    found = compared.difference
    assert (found.added, found.changed, found.removed) == (2, 0, 2)
    names = {mark.document_id for block in marks(living) for mark in block}
    assert names == {"a1", "a3", "b1", "b2", "c1", "c2", "c3", "e1"}
    opened.clear()
    assert living.sync()[0].difference.is_empty
    assert opened == []


def marks(living: Living):  # type: ignore[no-untyped-def]
    """The live version's chunks."""
    [record] = living.index.records()
    return living.index.marks(record.chunks_collection())


@pytest.mark.usefixtures("_quick_clock")
def test_a_change_that_keeps_size_and_time_is_seen(corpus: Path, tmp_path: Path) -> None:
    """On a disk: no program sets back when a file's attributes changed."""
    file = corpus / "a.jsonl"
    os.utime(file, ns=(DAY_NS, DAY_NS))
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="jsonl"))
    size = file.stat().st_size
    file.write_bytes(file.read_bytes().replace(b"night", b"dawn!"))
    os.utime(file, ns=(DAY_NS, DAY_NS))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (size, DAY_NS)
    assert living.sync()[0].difference.changed == 2


@pytest.mark.usefixtures("_quick_clock")
def test_a_file_that_cannot_be_read_is_tried_each_time(
    corpus: Path, tmp_path: Path, opened: list[str]
) -> None:
    """A compressed file that is cut short; its neighbours are not opened."""
    packed = corpus / "below" / "c.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="jsonl"))
    opened.clear()
    compared, _ = living.sync()
    assert set(opened) == {"below/c.jsonl.gz"}
    assert compared.unread_files == 3
    assert any(letter.reason.startswith(UNREADABLE_FILE) for letter in compared.dead_letters)


@pytest.mark.usefixtures("_quick_clock")
def test_files_of_every_kind_are_not_opened(
    corpus: Path, tmp_path: Path, opened: list[str]
) -> None:
    """Several formats, each a part of the corpus; how each is read asks for its first file."""
    (corpus / "page.html").write_text("<title>A page</title><p>of some words</p>")
    (corpus / "table.csv").write_text("id,text\nr1,a row\nr2,another\n")
    (corpus / "note.txt").write_text("a note")
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="all"))
    opened.clear()
    compared, _ = living.sync()
    assert (compared.files, compared.unread_files) == (7, 7)
    assert set(opened) <= {"a.jsonl", "table.csv"}
    (corpus / "note.txt").write_text("another note")
    assert living.sync()[0].difference.changed == 1


@pytest.mark.usefixtures("_quick_clock")
def test_other_settings_read_every_file(corpus: Path, tmp_path: Path, opened: list[str]) -> None:
    """What was kept of a file was made with the others; here the field of titles."""
    (corpus / "a.jsonl").write_bytes(b'{"id": "a1", "kind": "N", "text": "words"}\n')
    spec = CorpusSpec(str(corpus), format="jsonl", include=("a.jsonl",))
    living = living_on(tmp_path, spec)
    assert living.sync()[0].unread_files == 1
    living.basis = {"title_field": "kind"}
    living.corpus = replace(spec, title_field="kind")
    compared, _ = living.sync()
    assert (compared.unread_files, compared.difference.changed) == (0, 1)


def test_a_file_that_has_just_changed_is_read_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change once more within a step of the clock; later it is kept."""
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="jsonl"))
    assert living.sync()[0].unread_files == 0
    later = time.time_ns() + 3 * 10**9
    monkeypatch.setattr("mrag_pipeline.corpus.source_file.time.time_ns", lambda: later)
    assert living.sync()[0].unread_files == 0
    assert living.sync()[0].unread_files == 4


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "has_validator"),
    [
        (DAY_NS, 2 * DAY_NS, True),
        (DAY_NS, 0, True),
        (0, DAY_NS, False),
        (None, 0, False),
        (-DAY_NS, DAY_NS, False),
        (DAY_NS, 9 * DAY_NS, False),
        (9 * DAY_NS, DAY_NS, False),
        (9 * DAY_NS - 2 * 10**9, DAY_NS, False),
        (9 * DAY_NS - 2 * 10**9 - 1, DAY_NS, True),
        (10 * DAY_NS, DAY_NS, False),
    ],
)
def test_a_files_times_prove_its_content_once_they_are_past(
    mtime_ns: int | None, ctime_ns: int, has_validator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By more than two seconds; a time that is missing, or to come, proves nothing."""
    monkeypatch.setattr("mrag_pipeline.corpus.source_file.time.time_ns", lambda: 9 * DAY_NS)
    file = file_on_disk("a", 7, mtime_ns, ctime_ns)
    assert bool(file.validator) == has_validator
    assert file == SourceFile("a", 7, f"7-{mtime_ns or 0}")


def kept(living: OnFiles) -> set[str]:
    """The names in the folder of the cache."""
    return {path.name for path in (living.folder / "docs" / "read_cache").iterdir()}


@pytest.mark.usefixtures("_quick_clock")
def test_a_kill_leaves_the_earlier_cache_or_the_new_one(corpus: Path, tmp_path: Path) -> None:
    """Before each write of a sync: the next one finds the same, and only one cache is left."""
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="jsonl"))
    number, points, states = 0, set(), set()
    while True:
        (corpus / "a.jsonl").write_bytes(lines("a1", f"n{number}", *["more"] * (number % 2)))
        switch = Switch(number)
        try:
            with switch.over_staging():
                living.sync()
        except Killed:
            points.add(switch.points[-1])
            compared, _ = living.sync()
            states.add(compared.unread_files)
            fresh = OnFiles(tmp_path / f"fresh-{number}", [], corpus=living.corpus)
            fresh.ingest()
            assert texts(living) == texts(fresh)
            number += 1
            continue
        break
    assert len(kept(living)) == 2  # it, and the list that names it
    assert {point for point in points if "read_cache" in point} == {
        "staging: write read_cache/…/00000.parquet",
        "staging: write read_cache/…/files.bin",
        "staging: write read_cache/cache.json",
        "staging: remove read_cache/…",
    }
    assert states == {3, 4}


def texts(living: Living) -> list[bytes]:
    """What the live version holds."""
    return sorted(content_of(living.index)["texts"].values())


@pytest.mark.usefixtures("_quick_clock")
def test_a_damaged_cache_is_not_believed(corpus: Path, tmp_path: Path, opened: list[str]) -> None:
    """Every file is read again, one line says why, and the cache is whole afterwards."""
    living = living_on(tmp_path, CorpusSpec(str(corpus), format="jsonl"))
    [part] = (living.folder / "docs" / "read_cache").glob("*/*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    opened.clear()
    compared, _ = living.sync()
    assert (len(set(opened)), compared.unread_files) == (4, 0)
    assert compared.difference.is_empty
    [note] = [note for note in living.progress.notes if str(part) in note]
    assert note.endswith("these files are read again")
    assert living.sync()[0].unread_files == 4


# ------------------------------------------------------------------ S3
def test_an_object_is_valid_by_its_etag(s3: Server, bucket: str) -> None:
    """At once; another content of the same length is another validator, the same content is not."""
    validators = []
    for content in (b"one", b"two", b"one"):
        with s3.client().open_output_stream(f"{bucket}/a.txt", compression=None) as stream:
            stream.write(content)
        [found] = open_listing(bucket).listed_slices(100, lambda *_: False)
        assert isinstance(found, ListedSlice)
        validators.append(found.validator)
    assert validators[0]
    assert validators[0] == validators[2] != validators[1]
    known = list(
        open_listing(bucket).listed_slices(100, lambda *file: file == ("a.txt", validators[0]))
    )
    assert not isinstance(known[0], ListedSlice)


def open_listing(bucket: str) -> ListingReader:
    """A reader of the bucket."""
    reader = open_corpus(CorpusSpec(f"s3://{bucket}"))
    assert isinstance(reader, ListingReader)
    return reader
