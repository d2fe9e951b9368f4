"""What a format is given to open a file."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.open_file_position import Bookmark
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.settings.corpus import CorpusSpec


@dataclass(frozen=True, slots=True)
class FileRequest:
    """One file of a corpus, and the settings it is read by."""

    spec: CorpusSpec
    tree: FileTree
    file: SourceFile
    bookmark: Bookmark  # shared by the files of a reader
    fields: frozenset[str] | None = None  # that are wanted; None: all
