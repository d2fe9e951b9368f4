"""What must hold for any bytes: no exception, no hang, nothing lost, however the file is cut.

Documents in = documents indexed + set aside. What goes in is counted here by other means than the
reader's: the rows that a Parquet file names, the one document of a text file, and for files of
records the marks that stand in the bytes, which come out in a document, or are one set aside.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.dead_letters import UNREADABLE_FILE, num_set_aside
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError, EmptyCorpus
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.ingest import IngestSpec
from tests.fuzz.mutations import DOCUMENTS, MARK
from tests.support.builds import Build

MAX_S = 10.0  # CPU seconds that reading a file of at most 400 kB twice may take
_BEGINNING = re.compile(
    r'(?:^|[\[}],?)\s*\{\s*"id": "d\d|^\d+[,;\t]T\d', re.MULTILINE
)  # of a record
_ONE_EACH = (".txt", ".md", ".rst", ".html")  # files that are a document each


def check(path: Path, max_bytes: int) -> tuple[int, int]:
    """Reads the file whole and in slices, and stages it; returns its documents and dead letters.

    A field mapping that cannot be inferred is the one refusal that is allowed.
    Raises: AssertionError, and whatever the reader lets through.
    """
    started_s = time.process_time()
    spec = CorpusSpec(str(path), max_document_mb=1.0)
    try:
        whole = _items(spec, 10**9)
        pieces = _items(spec, max_bytes)
    except ConfigError as error:
        if "field" not in error.found:
            raise
        return 0, 0
    took_s = time.process_time() - started_s  # markup has a process of its own, which is ended
    assert took_s < MAX_S, f"{took_s:.1f} s"
    assert whole == pieces, "other items when cut in other places"
    for item in whole:
        for value in (item.source, item.text if isinstance(item, Document) else item.reason):
            value.encode("utf-8")
    documents = [item for item in whole if isinstance(item, Document)]
    letters = [item for item in whole if isinstance(item, DeadLetter)]
    _check_complete(path, documents, letters)
    _check_staged(spec, max_bytes, len(documents), num_set_aside(letters))
    return len(documents), len(letters)


def _items(spec: CorpusSpec, max_bytes: int) -> list[Document | DeadLetter]:
    reader = open_corpus(spec)
    return list(reader.read(list(reader.slices(max_bytes))))


def _check_complete(
    path: Path, documents: Sequence[Document], letters: Sequence[DeadLetter]
) -> None:
    """Everything that is in the file comes out, or is counted as set aside."""
    if any(letter.reason.startswith(UNREADABLE_FILE) for letter in letters):
        return  # the file, however much is in it
    num_dead = num_set_aside(letters)
    if path.suffix in _ONE_EACH:
        assert len(documents) + num_dead == 1
    elif path.suffix in (*DOCUMENTS, ".arrow"):  # how much a broken one has, nobody knows
        assert documents or num_dead or not path.stat().st_size
    elif path.suffix == ".parquet":
        num_rows = pq.ParquetFile(path).metadata.num_rows
        assert len(documents) + num_dead == num_rows, f"{len(documents)} + {num_dead} of {num_rows}"
    elif path.suffix != ".gz":
        found = {mark for one in documents for mark in MARK.findall(_told(one))}
        lost = [marks for marks in _marks(path) if marks.isdisjoint(found)]
        allowed = num_dead + sum(bool(one.remarks) for one in documents)
        assert len(lost) <= allowed, f"{lost} lost, {num_dead} set aside"


def _told(document: Document) -> str:
    return json.dumps([document.id, document.title, document.text, dict(document.metadata)])


def _marks(path: Path) -> list[set[str]]:
    """The marks of each record whose beginning is still in the file.

    Not those in the comments of a CSV file.
    """
    data = path.read_bytes()
    if b"\x00" in data:  # UTF-16, of which a lost byte makes other letters
        return []
    lines = re.split("[\r\n]", data.decode("latin-1"))
    kept = "\n".join(line for line in lines if not line.lstrip("ï»¿").startswith("#"))
    return [marks for record in _BEGINNING.split(kept)[1:] if (marks := set(MARK.findall(record)))]


def _check_staged(spec: CorpusSpec, max_bytes: int, num_documents: int, num_dead: int) -> None:
    """What the reader returns is in the shards, or in their dead letters."""
    build = Build([], shard_bytes=max(max_bytes, 50), spec=IngestSpec(max_dead_letter_share=1.0))
    build.reader = open_corpus(spec)  # type: ignore[assignment]
    try:
        _, staged = build.staged()
    except EmptyCorpus:
        assert not num_documents
        return
    total = staged.num_documents + staged.num_dead_letters
    assert total == num_documents + num_dead, f"{total} staged of {num_documents} + {num_dead}"
