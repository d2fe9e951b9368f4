"""The index as a repair changes it: the version's record says so before the first change."""

from __future__ import annotations

from dataclasses import replace

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import VersionRows


class RepairChanges:
    """Counts a repair in the version's record when it begins to change rows.

    A service that holds rows in memory lets go of them then, also if the repair is cut short.
    """

    def __init__(self, record: VersionRecord, index: VersionRows) -> None:
        """Nothing is changed yet."""
        self.record = record
        self.index = index

    def begun(self) -> VersionRows:
        """The index, to change rows of."""
        if not self.record.is_in_repair():
            self.record = replace(self.record, repairs=self.record.repairs + 1)
            self.index.write_record(self.record)
        return self.index
