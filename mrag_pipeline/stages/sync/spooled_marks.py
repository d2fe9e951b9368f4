"""The chunks that a sync removes, on their way from the index to staging; on disk if they are many.

Memory: some hundred bytes for each number that marks are added under.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.ports import Mark
from mrag_pipeline.stages.free_space import no_space

_BYTES_IN_MEMORY = 4_000_000  # some 40,000 marks; more wait on disk
_WHAT = "the chunks that the sync removes"


class SpooledMarks:
    """Marks in blocks, by rising numbers and ids; they can be read more than once. Close it."""

    def __init__(self) -> None:
        """Empty. The file has no name, so that none is left when the process is killed."""
        self._file = tempfile.SpooledTemporaryFile(_BYTES_IN_MEMORY, prefix="mrag-marks-")  # noqa: SIM115
        self._length = 0
        self._parts: dict[int, tuple[int, int]] = {}  # start and bytes, by number
        self._left_out: Collection[int] = ()

    def add(self, number: int, marks: Sequence[Mark]) -> None:
        """Adds a block; once for each number, in any order.

        Raises: StorageFull.
        """
        if not marks:
            return
        rows = [(mark.id, mark.document_id, mark.fingerprint) for mark in marks]
        content = json.dumps(sorted(rows)).encode()
        with no_space(tempfile.gettempdir(), _WHAT):
            self._file.seek(self._length)
            self._file.write(content)
            self._file.flush()
        self._parts[number] = (self._length, len(content))
        self._length += len(content)

    def leave_out(self, documents: Collection[int]) -> None:
        """From now on, marks of these documents are passed over.

        Args:
            documents: `text_key` of their ids.
        """
        self._left_out = documents

    def __iter__(self) -> Iterator[list[Mark]]:
        """The blocks; none is empty."""
        for number in sorted(self._parts):
            start, num_bytes = self._parts[number]
            self._file.seek(start)
            marks = [Mark(*row) for row in json.loads(self._file.read(num_bytes))]
            if self._left_out:
                marks = [mark for mark in marks if text_key(mark.document_id) not in self._left_out]
            if marks:
                yield marks

    def close(self) -> None:
        """Removes the file."""
        with suppress(OSError):  # a full disk, again: nothing is kept
            self._file.close()
