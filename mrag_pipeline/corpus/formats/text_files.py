"""Text, markup and documents such as PDF: each file, or each part of it, is one document.

What is extracted from each: docs/corpora.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from mrag_pipeline.corpus.field_mapping import FieldMapping
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.charset import NotText
from mrag_pipeline.corpus.formats.extracted import Extracted
from mrag_pipeline.corpus.formats.extraction import extract, is_plain
from mrag_pipeline.corpus.formats.extraction_process import EXTRACTION, NotExtracted
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.settings.corpus import CorpusSpec

# Names that no front matter has: its own `id` or `text` is metadata.
_PATH, _TITLE, _TEXT = "file path", "title", "file text"


class TextFiles:
    """One record for each file or part: its path, title and text, and the fields that it names."""

    name = "text"
    fixed_fields = False

    def __init__(self, spec: CorpusSpec) -> None:
        self._limit = spec.max_document_bytes
        self._limit_s = spec.max_document_s
        self._encoding = spec.encoding
        self.mapping = FieldMapping(_PATH, _TITLE, _TEXT, spec.metadata_fields)

    def whole(self, file: SourceFile) -> Slice:
        """The file."""
        return Slice(file.path, "file", 0, 1, file.num_bytes, file.stamp)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002
        """The whole file: a document is not cut."""
        yield self.whole(file)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The file's one record, or one for each of its parts."""
        file = tree.find(piece.path)
        with tree.stream(file) as stream:
            data = stream.read(self._limit + 1)
        if len(data) > self._limit:
            num_bytes = max(file.num_bytes, len(data))
            reason = f"the file has {num_bytes:,} bytes, expected at most {self._limit:,}"
            yield rejected(file.path, reason, data)
            return
        try:
            for found in self._extracted(data, file.suffix):
                yield _record(found, file.path)
        except (NotText, NotExtracted) as error:
            yield rejected(file.path, str(error), data)

    def _extracted(self, data: bytes, suffix: str) -> Iterator[Extracted]:
        if is_plain(suffix):
            return extract(data, suffix, self._encoding)
        return EXTRACTION.extract(data, suffix, self._encoding, self._limit_s)


def _record(found: Extracted, path: str) -> Record:
    place = f"{path}#{found.part}" if found.part else path
    title = found.title or PurePosixPath(path).stem
    if found.heading and found.heading != title:
        title = f"{title}: {found.heading}"
    own = {_PATH: place, _TITLE: title, _TEXT: found.text}
    return Record({**found.fields, **own}, place, found.remarks)


def open_text(request: FileRequest) -> TextFiles:
    """Plain text or markup, by the file's suffix."""
    return TextFiles(request.spec)
