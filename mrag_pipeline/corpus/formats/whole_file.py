"""A whole file as one slice."""

from __future__ import annotations

from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.planning import Slice

_EVERY_RECORD = 1 << 62  # how many there are is known once the file is read


def all_records(file: SourceFile) -> Slice:
    """The file by its records, for what can only be read from the start."""
    return Slice(file.path, "records", 0, _EVERY_RECORD, file.num_bytes, file.stamp)


def all_bytes(file: SourceFile) -> Slice:
    """The file by its bytes; by its records if it is compressed."""
    if file.compression:
        return all_records(file)
    return Slice(file.path, "bytes", 0, file.num_bytes, file.num_bytes, file.stamp)
