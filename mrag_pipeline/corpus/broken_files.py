"""A file that cannot be read is set aside whole, as one dead letter; its neighbours are read.

The plan finds such files, since it goes once through every file that can be cut short. They get a
slice of their own, so that the version's name says that they are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.record_format import RecordFormat
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.dead_letters import UNREADABLE_FILE
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import BrokenFile

_WHOLE = 1 << 40


def set_aside(file: SourceFile) -> Slice:
    """The slice of a file that cannot be read."""
    return Slice(file.path, "file", 0, 1, max(1, file.num_bytes), file.stamp)


def is_set_aside(piece: Slice, records: Callable[[], RecordFormat], file: SourceFile) -> bool:
    """Whether the plan set the file aside; formats whose unit is the file say why themselves."""
    if piece.unit != "file":
        return False
    try:
        return records().whole(file).unit != "file"
    except BrokenFile:
        return True


def dead_letter(piece: Slice, reason: str) -> DeadLetter:
    """The dead letter of a file that cannot be read."""
    return rejected(piece.path, f"{UNREADABLE_FILE}: {reason}")


def why_broken(tree: FileTree, file: SourceFile, opened: Callable[[], RecordFormat]) -> str:
    """What reading the file to its end raises."""
    try:
        for _ in opened().cut(tree, file, _WHOLE):
            pass
    except BrokenFile as error:
        return error.found
    return "it could not be read when the run was planned"


def without_broken(
    records: Iterator[Record | DeadLetter], piece: Slice
) -> Iterator[Record | DeadLetter]:
    """The records up to where the file breaks, and a dead letter for the rest of the slice."""
    try:
        yield from records
    except BrokenFile as error:
        yield dead_letter(piece, f"from here on: {error.found}")
