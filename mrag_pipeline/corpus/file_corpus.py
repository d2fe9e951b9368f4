"""Reads documents from files of one format, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice

from mrag_pipeline.corpus.field_mapping import FieldMapping, resolve
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.format_choice import Survey, format_of, survey
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.record_format import RecordFormat
from mrag_pipeline.corpus.formats.registry import FILE_FORMATS, format_by_suffix
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile, is_utf8
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import FingerprintMismatch
from mrag_pipeline.settings.corpus import AUTO, CorpusSpec

_NUM_SAMPLES = 50
_MAX_SAMPLED = 1_000  # records and dead letters read to find that many records
_MAX_MAPPINGS = 64  # of the most recently opened files


class FileCorpus:
    """A corpus reader over files of one format. The listing is streamed, never held."""

    def __init__(self, spec: CorpusSpec) -> None:
        self._spec = spec
        self._tree = FileTree(spec.uri)
        self._mappings: dict[tuple[str, str], FieldMapping] = {}
        self._bookmark = Bookmark()

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """Every file once, sorted by path, in slices of about `max_bytes`.

        Each file's fields are checked before its first slice.
        Raises: CorpusNotFound, EmptyCorpus, BrokenFile, ConfigError.
        """
        format_name = self._survey.format
        for file in self._tree.files(self._spec.include):
            if format_of(file, self._spec, self._tree) != format_name:
                continue
            if not file.has_utf8_name:
                yield Slice(file.path, "file", 0, 1, file.num_bytes, file.stamp)
                continue
            records = self._opened(format_name, file)
            slices = records.cut(self._tree, file, max(1, max_bytes))
            first = next(slices, None)
            if first is None:
                continue
            self._mapping(records, file)
            yield first
            yield from slices

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """The documents of the slices, in order, in bounded memory."""
        max_bytes = self._spec.max_document_bytes
        for piece in slices:
            if not is_utf8(piece.path):
                yield rejected(piece.path, "the file name is not valid UTF-8")
                continue
            file = self._unchanged(piece)
            records = self._opened(self._format_to_read(file), file)
            mapping = self._mapping(records, file)
            for record in records.records(self._tree, piece):
                if isinstance(record, Record):
                    yield mapping.document(record, max_bytes)
                else:
                    yield record
            self._unchanged(piece)

    def describe(self) -> str:
        """The format, the number of files, and the first file's fields with those inferred."""
        files = self._survey.files
        assert files.first is not None
        records = self._opened(self._survey.format, files.first)
        mapping = self._mapping(records, files.first)
        num_others = self._survey.num_others
        others = f", {num_others} other file(s) ignored" if num_others else ""
        return (
            f"{records.name}, {files.num_files} file(s), "
            f"{files.num_bytes / 1e6:.1f} MB in {self._tree}{others}: {mapping}"
        )

    @cached_property
    def _survey(self) -> Survey:
        return survey(self._spec, self._tree)

    def _format_to_read(self, file: SourceFile) -> str:
        # The plan has chosen the file: whether it belongs to the corpus is not asked again.
        return self._spec.format if self._spec.format != AUTO else format_by_suffix(file.suffix)

    def _opened(self, format_name: str, file: SourceFile) -> RecordFormat:
        request = FileRequest(self._spec, self._tree, file, self._bookmark)
        return FILE_FORMATS[format_name].open(request)

    def _mapping(self, records: RecordFormat, file: SourceFile) -> FieldMapping:
        if records.mapping is not None:
            return records.mapping
        mapping = self._mappings.get((file.path, file.stamp))
        if mapping is None:
            items = islice(records.records(self._tree, records.whole(file)), _MAX_SAMPLED)
            values = (item.values for item in items if isinstance(item, Record))
            samples = list(islice(values, _NUM_SAMPLES))
            name = self._tree.name(file.path)
            mapping = resolve(self._spec, samples, name, records.fixed_fields)
            while len(self._mappings) >= _MAX_MAPPINGS:
                del self._mappings[next(iter(self._mappings))]
            self._mappings[file.path, file.stamp] = mapping
        return mapping

    def _unchanged(self, piece: Slice) -> SourceFile:
        file = self._tree.find(piece.path)
        if file.stamp != piece.stamp:
            raise FingerprintMismatch(
                f"{self._tree.name(piece.path)} has changed since the run was planned: "
                f"its size and time are {file.stamp}",
                piece.stamp,
                "run the command again: it plans a new version",
            )
        return file
