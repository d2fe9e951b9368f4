"""An Export that lives in memory; it passes tests/contracts/test_export.py."""

from __future__ import annotations

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Staging
from tests.support.fake_staging import FakeStaging


class FakeExport:
    """The Export port in memory."""

    def __init__(self) -> None:
        self._staging = FakeStaging()
        self._record: VersionRecord | None = None

    @property
    def staging(self) -> Staging:
        return self._staging

    def record(self) -> VersionRecord | None:
        return self._record

    def write_record(self, record: VersionRecord) -> None:
        self._record = record
