"""The process that reads markup: what takes too long, or kills it, costs one document."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline.corpus.formats.extraction_process import (
    EXTRACTION,
    ExtractionProcess,
    NotExtracted,
)
from mrag_pipeline.domain.documents import DeadLetter, Document
from tests.support.corpus_files import read, written

SLOW = {
    "quotes.rst": "".join(f"``unmatched{i} *and :role:`too\n" for i in range(4_000)),
    "stars.rst": "*a " * 38_000,
    "links.rst": "`a <b `" * 16_000,
    "deep.html": "<div>" * 100_000 + "x",
}


@pytest.mark.parametrize("name", SLOW)
def test_a_document_that_takes_too_long_is_a_dead_letter(tmp_path: Path, name: str) -> None:
    """Its neighbours are read, and the reason names the limit; no document takes far longer."""
    written(tmp_path / "a.html", "<p>before")
    written(tmp_path / f"b{Path(name).suffix}", SLOW[name])
    written(tmp_path / "c.md", "*after*")
    started = time.monotonic()
    first, slow, last = read(tmp_path, max_document_s=1.0)
    assert isinstance(first, Document)
    assert isinstance(last, Document)
    assert (first.text, last.text) == ("before", "after")
    if isinstance(slow, DeadLetter):
        assert slow.reason == "reading its markup takes more than 1 s (corpus.max_document_s)"
    assert time.monotonic() - started < 60


def test_docutils_does_take_too_long(tmp_path: Path) -> None:
    """Without the limit one of these texts would take minutes."""
    path = written(tmp_path / "b.rst", SLOW["quotes.rst"])
    assert isinstance(read(path, max_document_s=0.5)[0], DeadLetter)


def test_a_process_that_dies_is_started_again() -> None:
    """A parser in C may crash: that document is refused with the status, the next one is read."""
    with closing(ExtractionProcess()) as process:
        [found] = process.extract(b"<p>x", ".html", "", 10.0)
        assert found.text == "x"
        assert process._process is not None
        pid = process._process.pid
        killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(NotExtracted, match="ended with status -9"):
            list(process.extract(SLOW["deep.html"].encode(), ".html", "", 30.0))
        [found] = process.extract(b"<p>z", ".html", "", 10.0)
        assert found.text == "z"


def test_what_a_parser_raises_is_the_reason() -> None:
    """The process goes on."""
    with pytest.raises(NotExtracted, match="not UTF-8"):
        list(EXTRACTION.extract(b"\x00\xff\xd8" * 9, ".md", "", 10.0))
    [found] = EXTRACTION.extract(b"*fine*", ".md", "", 10.0)
    assert found.text == "fine"
