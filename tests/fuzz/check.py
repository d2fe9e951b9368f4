"""What must hold for any bytes: no exception, no hang, and the same items however they are cut."""

from __future__ import annotations

import time
from pathlib import Path

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.corpus import CorpusSpec

MAX_S = 10.0  # CPU seconds of a document, by the product's own limit; and of time with some room


def check(path: Path, max_bytes: int) -> tuple[int, int]:
    """Reads the file whole and in slices; returns how many documents and dead letters it has.

    A field mapping that cannot be inferred is the one refusal that is allowed.
    Raises: AssertionError, and whatever the reader lets through.
    """
    started = time.monotonic()
    spec = CorpusSpec(str(path), max_document_mb=1.0)
    try:
        whole = _items(spec, 10**9)
        pieces = _items(spec, max_bytes)
    except ConfigError as error:
        if "field" not in error.found:
            raise
        return 0, 0
    took_s = time.monotonic() - started
    assert took_s < 3 * MAX_S + 10, f"{took_s:.1f} s"
    assert whole == pieces, "other items when cut in other places"
    for item in whole:
        for value in (item.source, item.text if isinstance(item, Document) else item.reason):
            value.encode("utf-8")
    num_documents = sum(isinstance(item, Document) for item in whole)
    return num_documents, len(whole) - num_documents


def _items(spec: CorpusSpec, max_bytes: int) -> list[Document | DeadLetter]:
    reader = open_corpus(spec)
    return list(reader.read(list(reader.slices(max_bytes))))
