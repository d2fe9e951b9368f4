"""Chooses the format of a corpus of files from one pass over their names.

Memory does not grow with the number of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.registry import FILE_FORMATS, format_by_suffix, known_suffixes
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.errors import ConfigError, EmptyCorpus
from mrag_pipeline.settings.corpus import AUTO, CorpusSpec

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.zst", ".7z", ".rar", ".xz")


@dataclass(slots=True)
class FileGroup:
    """The files of one format, counted."""

    num_files: int = 0
    num_bytes: int = 0
    first: SourceFile | None = None  # by path; one that is not empty, if there is one

    def add(self, file: SourceFile) -> None:
        """Counts the file."""
        self.num_files += 1
        self.num_bytes += file.num_bytes
        self.first = _preferred(self.first, file)


@dataclass(frozen=True, slots=True)
class Survey:
    """The corpus's format, its files, and how many other files there are."""

    format: str
    files: FileGroup  # of that format
    num_others: int


def format_of(file: SourceFile, spec: CorpusSpec, tree: FileTree) -> str:
    """The format in which the file would be read; "" if it is not part of the corpus."""
    if spec.format == AUTO:
        return format_by_suffix(file.suffix)
    # A user who names both the format and the files means them, whatever the names end in.
    is_named = bool(spec.include) or tree.names_files
    return spec.format if is_named or file.suffix in FILE_FORMATS[spec.format].suffixes else ""


def formats_of(spec: CorpusSpec, tree: FileTree) -> tuple[str, ...]:
    """The formats that the corpus has files of, in the order of the registry.

    Raises: CorpusNotFound; EmptyCorpus if there are none.
    """
    found = {format_of(file, spec, tree) for file in tree.survey(spec.include)}
    names = tuple(name for name in FILE_FORMATS if name in found)
    if not names:
        raise EmptyCorpus(
            f"corpus {str(tree)!r} holds no file that can be read",
            f"names that end in {', '.join(known_suffixes())}",
            "check `uri`, `include` and `exclude`",
        )
    return names


def survey(spec: CorpusSpec, tree: FileTree, chosen: str = "") -> Survey:
    """Goes once through the listing and chooses the format, unless it is chosen already.

    Raises: CorpusNotFound; EmptyCorpus without a file of the format; ConfigError if the format
    cannot be told from the names.
    """
    groups: dict[str, FileGroup] = {}
    any_file: SourceFile | None = None
    for file in tree.survey(spec.include):
        any_file = _preferred(any_file, file)
        groups.setdefault(format_of(file, spec, tree), FileGroup()).add(file)
    num_files = sum(group.num_files for group in groups.values())
    groups.pop("", None)
    named = chosen or (spec.format if spec.format != AUTO else "")
    name = named or _choose(groups, any_file, tree)
    if name not in groups:
        raise EmptyCorpus(
            f"corpus {str(tree)!r} holds {num_files} file(s), none of them {name}",
            f"names that end in {', '.join(FILE_FORMATS[name].suffixes)}",
            "check `uri`, `format` and `include`",
        )
    return Survey(name, groups[name], num_files - groups[name].num_files)


def _choose(groups: Mapping[str, FileGroup], any_file: SourceFile | None, tree: FileTree) -> str:
    data = [name for name in groups if not FILE_FORMATS[name].is_prose]
    prose = [name for name in groups if FILE_FORMATS[name].is_prose]
    if len(data or prose) == 1:
        return (data or prose)[0]
    if any_file is None:
        raise EmptyCorpus(f"corpus {str(tree)!r} holds no file", "", "check `uri` and `include`")
    if groups:
        counts = ", ".join(f"{groups[name].num_files} {name}" for name in sorted(groups))
        raise ConfigError(
            f"corpus {str(tree)!r} holds files of several formats: {counts}",
            "one format",
            "set `format` ('all' reads them all), or select files with `include`",
        )
    is_archive = any_file.path.lower().endswith(_ARCHIVES)
    raise ConfigError(
        f"corpus {str(tree)!r}: no format known for {any_file.path!r}",
        f"names that end in {', '.join(known_suffixes())}, perhaps compressed: .gz, .bz2, .zst",
        "unpack it first" if is_archive else "set `format`",
    )


def _preferred(shown: SourceFile | None, file: SourceFile) -> SourceFile:
    """Which of the two stands for the corpus: not empty, named in UTF-8, first by path."""
    if shown is None:
        return file
    return min(
        shown,
        file,
        key=lambda other: (not (other.num_bytes and other.has_utf8_name), other.path_bytes),
    )
