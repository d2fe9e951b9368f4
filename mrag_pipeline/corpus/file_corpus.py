"""Reads documents from files of one format, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice, starmap
from typing import Any

from mrag_pipeline.corpus.broken_files import (
    dead_letter,
    is_set_aside,
    set_aside,
    why_broken,
    without_broken,
)
from mrag_pipeline.corpus.column_types import column_types
from mrag_pipeline.corpus.field_choice import FieldChoice, choose, resolve
from mrag_pipeline.corpus.field_mapping import FieldMapping
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.format_choice import Survey, format_of, survey
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.record_format import RecordFormat
from mrag_pipeline.corpus.formats.registry import FILE_FORMATS, format_by_suffix
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import BAD_LINKS, SourceFile, is_utf8
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import BrokenFile, ConfigError, FingerprintMismatch
from mrag_pipeline.ports import ListedSlice, UnreadFile
from mrag_pipeline.settings.corpus import ALL_FIELDS, AUTO, CorpusSpec, FieldType

_NUM_SAMPLES = 50
_MAX_SAMPLED = 1_000  # records and dead letters read to find that many records
_MAX_MAPPINGS = 64  # of the most recently opened files


class FileCorpus:
    """A corpus reader over files of one format. The listing is streamed, never held."""

    def __init__(
        self, spec: CorpusSpec, reading: Mapping[str, Any] | None = None, format_name: str = ""
    ) -> None:
        """Reads nothing yet.

        Args:
            format_name: of the files to read among those that are named otherwise; "" by the spec.
            reading: what `reading()` of an earlier reader returned; None finds it out.
        Raises: FingerprintMismatch if the spec contradicts it; ConfigError.
        """
        self._spec = spec
        self._format_name = format_name
        self._kept = None if reading is None else FieldChoice.of(reading)
        if self._kept is not None:
            self._kept.check(spec)
        self._tree = FileTree(spec.uri, spec.exclude, spec.follow_links)
        self._mappings: dict[tuple[str, str], FieldMapping] = {}
        self._bookmark = Bookmark()

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """Every file once, sorted by path, in slices of about `max_bytes`.

        Each file's fields are checked before its first slice.
        Raises: CorpusNotFound, EmptyCorpus, BrokenFile, ConfigError.
        """
        for found in self.listed_slices(max_bytes, lambda *_: False):
            if isinstance(found, ListedSlice):
                yield found.piece

    def listed_slices(
        self, max_bytes: int, is_known: Callable[[str, str], bool]
    ) -> Iterator[ListedSlice | UnreadFile]:
        """As `slices`; files that are known are not opened."""
        format_name = self._survey.format
        for file in self._files():
            if not file.has_utf8_name:
                piece = Slice(file.path, "file", 0, 1, file.num_bytes, file.stamp)
                yield ListedSlice(piece, "")
            elif file.validator and is_known(file.path, file.validator):
                yield UnreadFile(file.path, file.validator)
            else:
                for piece in self._slices_of(file, format_name, max_bytes):
                    yield ListedSlice(piece, file.validator)

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """The documents of the slices, in order, in bounded memory."""
        max_bytes = self._spec.max_document_bytes
        for piece in slices:
            if not is_utf8(piece.path):
                yield rejected(piece.path, "the file name is not valid UTF-8")
                continue
            if piece.stamp in BAD_LINKS:
                yield dead_letter(piece, BAD_LINKS[piece.stamp])
                continue
            file = self._unchanged(piece)
            format_name = self._format_to_read(file)
            opened = partial(self._opened, format_name, file)
            if is_set_aside(piece, opened, file):
                yield dead_letter(piece, why_broken(self._tree, file, opened))
                continue
            records = opened()
            mapping = self._mapping(records, file)
            if mapping.fields is not None:
                records = self._opened(format_name, file, mapping.fields)
            for record in without_broken(records.records(self._tree, piece), piece):
                if isinstance(record, Record):
                    yield mapping.document(record, max_bytes)
                else:
                    yield record
            self._unchanged(piece)

    def reading(self) -> dict[str, Any]:
        """The field choice, plain; {} where the format itself says what a document is."""
        first = next(self._readable(), None)
        if first is None or first[0].mapping is not None:
            return {}
        return self._choice.to_dict()

    def describe(self) -> str:
        """The format, the number of files, and the first file's fields with those inferred."""
        files = self._survey.files
        assert files.first is not None
        try:
            records = self._opened(self._survey.format, files.first)
            name, mapping = records.name, str(self._mapping(records, files.first))
        except BrokenFile as error:
            name, mapping = self._survey.format, error.found
        except ConfigError as error:
            if self._is_whole(records, files.first):
                raise
            name, mapping = self._survey.format, error.found
        num_others = self._survey.num_others
        others = f", {num_others} other file(s) ignored (`mrag plan --left-out`)"
        return (
            f"{name}, {files.num_files} file(s), {files.num_bytes / 1e6:.1f} MB in "
            f"{self._tree}{others if num_others else ''}: {mapping}"
        )

    def left_out(self) -> Iterator[str]:
        """The other files below the corpus's folder, but hidden ones, sorted by path."""
        everything = FileTree(self._spec.uri)
        for file in everything.files():
            is_chosen = self._tree.selects(file.path, self._spec.include)
            if not is_chosen or format_of(file, self._spec, self._tree) != self._survey.format:
                yield file.path

    @cached_property
    def _survey(self) -> Survey:
        return survey(self._spec, self._tree, self._format_name)

    def _files(self) -> Iterator[SourceFile]:
        """The files of the corpus's format, sorted by path."""
        for file in self._tree.files(self._spec.include):
            if format_of(file, self._spec, self._tree) == self._survey.format:
                yield file

    def _slices_of(self, file: SourceFile, format_name: str, max_bytes: int) -> list[Slice]:
        try:
            if file.stamp in BAD_LINKS:
                raise BrokenFile(file.stamp)
            records = self._opened(format_name, file)
            # To its end, before the first slice: a file is read whole or not at all.
            slices = list(records.cut(self._tree, file, max(1, max_bytes)))
            if slices:
                self._mapping(records, file)
        except BrokenFile:
            return [set_aside(file)]
        return slices

    def _readable(self) -> Iterator[tuple[RecordFormat, SourceFile]]:
        """The files that can be opened; the others are set aside by `slices`."""
        for file in self._files():
            if file.has_utf8_name and file.stamp not in BAD_LINKS:
                try:
                    records = self._opened(self._survey.format, file)
                except BrokenFile:
                    continue
                yield records, file

    @cached_property
    def _choice(self) -> FieldChoice:
        """The choice that was kept, or one made from the first file that has a record."""
        if self._kept is not None:
            return self._kept
        choice = None
        for records, file in self._readable():
            samples = self._samples(records, file)
            if samples:
                name = self._tree.name(file.path)
                try:
                    choice = choose(self._spec, samples, name, records.fixed_fields)
                except ConfigError:
                    if self._is_whole(records, file):
                        raise
                    continue  # it is set aside: what it begins with says nothing
                break
        choice = choice or FieldChoice("", types=self._spec.types)
        if FILE_FORMATS[self._survey.format].is_untyped and self._spec.metadata_fields:
            return replace(choice, types={**self._column_types(choice), **choice.types})
        return choice

    def _column_types(self, choice: FieldChoice) -> Mapping[str, FieldType]:
        """The types of the columns that are metadata, from all records of the corpus."""
        values = chain.from_iterable(starmap(self._values, self._readable()))
        types = column_types(values, without={choice.id or "", choice.title, choice.text})
        named = self._spec.metadata_fields
        return {name: of for name, of in types.items() if named == ALL_FIELDS or name in named}

    def _values(self, records: RecordFormat, file: SourceFile) -> Iterator[Mapping[str, object]]:
        items = records.records(self._tree, records.whole(file))
        try:
            yield from (item.values for item in items if isinstance(item, Record))
        except BrokenFile:  # from here on
            return

    def _samples(self, records: RecordFormat, file: SourceFile) -> list[Mapping[str, object]]:
        items = islice(records.records(self._tree, records.whole(file)), _MAX_SAMPLED)
        values = (item.values for item in items if isinstance(item, Record))
        samples: list[Mapping[str, object]] = []
        with suppress(BrokenFile):
            samples += islice(values, _NUM_SAMPLES)
        return samples

    def _is_whole(self, records: RecordFormat, file: SourceFile) -> bool:
        """Whether the file can be read to its end, as `slices` asks."""
        try:
            for _ in records.cut(self._tree, file, 1 << 40):
                pass
        except BrokenFile:
            return False
        return True

    def _format_to_read(self, file: SourceFile) -> str:
        # The plan has chosen the file: whether it belongs to the corpus is not asked again.
        return self._spec.format if self._spec.format != AUTO else format_by_suffix(file.suffix)

    def _opened(
        self, format_name: str, file: SourceFile, fields: frozenset[str] | None = None
    ) -> RecordFormat:
        request = FileRequest(self._spec, self._tree, file, self._bookmark, fields)
        return FILE_FORMATS[format_name].open(request)

    def _mapping(self, records: RecordFormat, file: SourceFile) -> FieldMapping:
        if records.mapping is not None:
            return records.mapping
        mapping = self._mappings.get((file.path, file.stamp))
        if mapping is None:
            samples = self._samples(records, file)
            name = self._tree.name(file.path)
            mapping = resolve(self._spec, samples, name, records.fixed_fields, self._choice)
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
