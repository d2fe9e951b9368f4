"""Which reader a corpus gets; a corpus of files as documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from mrag_pipeline.corpus.field_mapping import FieldMapping, rejected, resolve
from mrag_pipeline.corpus.file_tree import SourceFile, Tree
from mrag_pipeline.corpus.formats.delimited import DelimitedFiles
from mrag_pipeline.corpus.formats.json_array import JsonArray, begins_array
from mrag_pipeline.corpus.formats.jsonl import JsonLines
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.formats.parquet import ParquetFiles
from mrag_pipeline.corpus.formats.pydoc_pages import SCHEME, PythonDocs
from mrag_pipeline.corpus.formats.record_format import Record, RecordFormat
from mrag_pipeline.corpus.formats.text_files import MAPPING as TEXT_MAPPING
from mrag_pipeline.corpus.formats.text_files import TextFiles
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import ConfigError, EmptyCorpus, FingerprintMismatch
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import FORMATS, CorpusSpec

SUFFIXES = {
    "parquet": (".parquet", ".pq", ".parq"),
    "jsonl": (".jsonl", ".ndjson", ".jsonlines"),
    "json": (".json",),
    "csv": (".csv", ".tsv"),
    "text": (".txt", ".md", ".markdown", ".rst", ".html", ".htm"),
}
_FORMATS = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
_SAMPLE_RECORDS = 50
_SAMPLE_LOOKED_AT = 1_000  # records and dead letters, to find that many records
_MAPPINGS_KEPT = 64  # of the files looked at last


def open_corpus(spec: CorpusSpec) -> CorpusReader:
    """The reader for a corpus; nothing is read before it is asked.

    Raises: ConfigError for a URI or format that cannot be.
    """
    if spec.format not in FORMATS:
        raise ConfigError(f"corpus format {spec.format!r}", f"one of {', '.join(FORMATS)}")
    if not spec.uri.strip():
        raise ConfigError("the corpus has no uri", "a path, a URI, or pydoc:", "set corpus.uri")
    is_pydoc = spec.uri == SCHEME.rstrip(":") or spec.uri.startswith(SCHEME)
    if spec.format == "pydoc" or (spec.format == "auto" and is_pydoc):
        if not is_pydoc:
            raise ConfigError(f"corpus {spec.uri!r} with format pydoc", "uri pydoc: or pydoc:a,b")
        return PythonDocs(spec.uri.removeprefix("pydoc").removeprefix(":"), spec.max_document_bytes)
    return FileCorpus(spec)


@dataclass(slots=True)
class _Group:
    """The files of one format, as one pass over the listing counts them."""

    num_files: int = 0
    num_bytes: int = 0
    first: SourceFile | None = None  # by path; one that holds something, if there is one


@dataclass(frozen=True, slots=True)
class _Survey:
    """What one pass over the listing tells, in memory that does not grow with it."""

    format: str
    files: _Group  # of that format
    num_others: int


class FileCorpus:
    """Documents of files of one format. The listing is gone through, never held."""

    def __init__(self, spec: CorpusSpec) -> None:
        self._spec = spec
        self._tree = Tree(spec.uri)
        self._mappings: dict[tuple[str, str], FieldMapping] = {}
        self._bookmark = Bookmark()

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """Every file once, sorted by path, in pieces of about `max_bytes`.

        Each file's fields are checked before its first piece.
        Raises: CorpusNotFound, EmptyCorpus, BrokenFile, ConfigError.
        """
        format_name = self._survey.format
        for file in self._tree.files(self._spec.include):
            if not self._is_of(file, format_name):
                continue
            if not _is_utf8(file.path):
                yield Slice(file.path, "file", 0, 1, file.num_bytes, file.stamp)
                continue
            records = self._format(format_name, file)
            pieces = records.cut(self._tree, file, max(1, max_bytes))
            first = next(pieces, None)
            if first is None:
                continue
            self._mapping(records, file)
            yield first
            yield from pieces

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """What the slices hold, in order, in bounded memory."""
        limit = self._spec.max_document_bytes
        for piece in slices:
            if not _is_utf8(piece.path):
                yield rejected(piece.path, "a file name that is not UTF-8")
                continue
            file = self._unchanged(piece)
            records = self._format(self._format_of(file), file)
            mapping = self._mapping(records, file)
            for record in records.records(self._tree, piece):
                yield mapping.document(record, limit) if isinstance(record, Record) else record
            self._unchanged(piece)

    def describe(self) -> str:
        """Format, files and the first file's fields, with what was guessed."""
        survey = self._survey
        first = survey.files.first
        assert first is not None
        records = self._format(survey.format, first)
        mapping = self._mapping(records, first)
        left_out = f", {survey.num_others} other file(s) left out" if survey.num_others else ""
        return (
            f"{records.name}, {survey.files.num_files} file(s), "
            f"{survey.files.num_bytes / 1e6:.1f} MB in {self._tree}{left_out}: {mapping}"
        )

    @cached_property
    def _survey(self) -> _Survey:
        """The format, its files, and how many others there are."""
        spec = self._spec
        found: dict[str, _Group] = {}
        any_file: SourceFile | None = None
        for file in self._tree.survey(spec.include):
            any_file = _earlier(any_file, file)
            if spec.format == "auto":
                name = _format_by_name(file)
            else:
                name = str(spec.format) if self._takes(file, spec.format) else ""
            group = found.setdefault(name, _Group())
            group.num_files += 1
            group.num_bytes += file.num_bytes
            group.first = _earlier(group.first, file)
        num_files = sum(group.num_files for group in found.values())
        found.pop("", None)
        name = str(spec.format) if spec.format != "auto" else self._choose(found, any_file)
        if name not in found:
            raise EmptyCorpus(
                f"corpus {str(self._tree)!r} holds {num_files} file(s), none of them {name}",
                f"names that end in {', '.join(SUFFIXES[name])}",
                "check `uri`, `format` and `include`",
            )
        return _Survey(name, found[name], num_files - found[name].num_files)

    def _is_of(self, file: SourceFile, name: str) -> bool:
        if self._spec.format != "auto":
            return self._takes(file, self._spec.format)
        return _format_by_name(file) == name

    def _takes(self, file: SourceFile, name: str) -> bool:
        # Whoever names a format and the files means them, whatever the names end in.
        named = bool(self._spec.include) or self._tree.names_files
        return named or file.suffix in SUFFIXES[name]

    def _choose(self, found: Mapping[str, _Group], any_file: SourceFile | None) -> str:
        data = [name for name in found if name != "text"]
        if len(data) == 1:
            return data[0]  # a README beside the data is not part of it
        if not data and found:
            return "text"
        if any_file is None:
            raise EmptyCorpus(
                f"corpus {str(self._tree)!r} holds no file",
                "",
                "check `uri` and `include`",
            )
        if data:
            counts = ", ".join(f"{found[name].num_files} {name}" for name in sorted(found))
            raise ConfigError(
                f"corpus {str(self._tree)!r} holds files of several formats: {counts}",
                "one format",
                "set `format`, or `include` to choose files",
            )
        raise ConfigError(
            f"corpus {str(self._tree)!r}: no format known for {any_file.path!r}",
            f"names that end in {', '.join(s for group in SUFFIXES.values() for s in group)}",
            "set `format`",
        )

    def _format_of(self, file: SourceFile) -> str:
        return self._spec.format if self._spec.format != "auto" else _format_by_name(file)

    def _format(self, name: str, file: SourceFile) -> RecordFormat:
        limit = self._spec.max_document_bytes
        if name == "parquet":
            spec = self._spec
            named = (spec.id_field, spec.title_field, spec.text_field, *spec.metadata_fields)
            return ParquetFiles(frozenset(named))
        if name == "csv":
            return DelimitedFiles(limit, self._bookmark)
        if name == "text":
            return TextFiles(limit)
        if name == "json" and begins_array(self._tree, file):
            return JsonArray(self._bookmark)
        return JsonLines(limit, self._bookmark)

    def _mapping(self, records: RecordFormat, file: SourceFile) -> FieldMapping:
        if isinstance(records, TextFiles):
            return TEXT_MAPPING
        known = self._mappings.get((file.path, file.stamp))
        if known is None:
            looked_at = islice(records.records(self._tree, records.whole(file)), _SAMPLE_LOOKED_AT)
            found = (record.values for record in looked_at if isinstance(record, Record))
            samples = list(islice(found, _SAMPLE_RECORDS))
            place = self._tree.name(file.path)
            known = resolve(self._spec, samples, place, records.fixed_fields)
            while len(self._mappings) >= _MAPPINGS_KEPT:
                del self._mappings[next(iter(self._mappings))]
            self._mappings[file.path, file.stamp] = known
        return known

    def _unchanged(self, piece: Slice) -> SourceFile:
        file = self._tree.find(piece.path)
        if file.stamp != piece.stamp:
            raise FingerprintMismatch(
                f"{self._tree.name(piece.path)} has changed since the run was planned",
                f"size and time {piece.stamp}, found {file.stamp}",
                "run the command again: it plans anew, as another version",
            )
        return file


def _format_by_name(file: SourceFile) -> str:
    return _FORMATS.get(file.suffix, "")


def _earlier(one: SourceFile | None, other: SourceFile) -> SourceFile:
    """Which of the two is shown: it holds something, is named in UTF-8, and comes first."""
    if one is None:
        return other
    return min(
        one, other, key=lambda file: (not (file.num_bytes and _is_utf8(file.path)), _bytes(file))
    )


def _bytes(file: SourceFile) -> bytes:
    return file.path.encode("utf-8", "surrogateescape")


def _is_utf8(path: str) -> bool:
    return path == path.encode("utf-8", "replace").decode()
