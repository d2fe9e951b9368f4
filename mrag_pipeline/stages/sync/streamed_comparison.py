"""Compares a database that knows what has changed with a version: rows that have not are not read.

One process: which rows need not be read depends on what the version has (`known_documents.py`), and
what is read is stored at once.
Memory: a byte a document of the version, 8 for each new one, and the ids of those that are changed
or gone. The marks of their chunks are on disk where they are many.
"""

from __future__ import annotations

from mrag_pipeline.domain.dead_letters import is_of_a_file, num_set_aside
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.ports import ChangesReader, DeltaStaging, Progress, Rows
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.sync.compare_items import FEW
from mrag_pipeline.stages.sync.compared_rows import Tally
from mrag_pipeline.stages.sync.delta import Scan
from mrag_pipeline.stages.sync.known_documents import KnownDocuments
from mrag_pipeline.stages.sync.spooled_marks import SpooledMarks

_DOCUMENTS = 10_000  # whose marks are read at a time


class StreamedComparison:
    """One comparison: `read`, then `store`, then `close`."""

    def __init__(
        self,
        reader: ChangesReader,
        index: Rows,
        collection: str,
        staging: DeltaStaging,
        spec: SyncSpec,
        progress: Progress,
    ) -> None:
        """Reads nothing yet."""
        self._reader = reader
        self._index = index
        self._collection = collection
        self._spec = spec
        self._progress = progress
        self._known = KnownDocuments()
        self._scan = Scan(self._known, staging)
        self._marks = SpooledMarks()

    def close(self) -> None:
        """Lets go of its temporary files."""
        self._known.close()
        self._marks.close()

    def read(self) -> None:
        """Reads the version and what may have changed; compares them, and stores what differs.

        Raises: StorageFull and what the reader raises.
        """
        known = self._known
        for block in self._index.marks(self._collection):
            known.add(block)
        known.settle()
        self._progress.phase("compare", len(known), "documents")
        for item in self._reader.changes(known.__contains__, self._spec.overlap_s):
            self._scan.take(item)
            self._progress.advance(1)
        self._scan.flush()
        self._progress.finish()

    @property
    def tally(self) -> Tally:
        """How many documents there are of each kind."""
        known, scan = self._known, self._scan
        num_seen = len(known) - known.num_unseen
        return Tally(len(known), known.num_seen, num_seen, scan.added, len(scan.changed))

    @property
    def dead(self) -> list[DeadLetter]:
        """What is set aside."""
        return self._scan.dead

    @property
    def remarks(self) -> dict[str, int]:
        """Documents, by what is told of them."""
        return self._scan.remarks

    @property
    def num_dead(self) -> int:
        """How many documents are set aside."""
        return num_set_aside(self.dead)

    @property
    def num_unread_files(self) -> int:
        """How many files cannot be read, so that their documents are not known."""
        return sum(map(is_of_a_file, self.dead))

    def store(self, is_gone_removed: bool) -> tuple[list[Slice], SpooledMarks]:
        """What was stored, and the chunks to remove until `close`: of few documents by their ids.

        Raises: StorageFull.
        """
        outdated = set(self._known.unseen()) if is_gone_removed else set()
        outdated |= self._scan.changed
        if len(outdated) <= len(self._known) // FEW:
            ids = sorted(outdated)
            for number, start in enumerate(range(0, len(ids), _DOCUMENTS)):
                of_documents = ids[start : start + _DOCUMENTS]
                self._marks.add(number, self._index.marks_of(self._collection, of_documents))
            return self._scan.slices, self._marks
        for number, block in enumerate(self._index.marks(self._collection)):
            self._marks.add(number, [mark for mark in block if mark.document_id in outdated])
        return self._scan.slices, self._marks
