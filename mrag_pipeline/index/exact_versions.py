"""Version records and the live version in memory, for exact search."""

from __future__ import annotations

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import PlanRefused


class ExactVersions:
    """Records as text, as a store would keep them."""

    def __init__(self) -> None:
        """Empty."""
        self._records: dict[str, str] = {}
        self._live: str | None = None
        self._imports: dict[str, str] = {}  # what is being loaded, by version

    def live(self) -> str | None:
        """The live version's name."""
        return self._live

    def write_record(self, record: VersionRecord) -> None:
        """Stores a version's record, replacing an earlier one whole."""
        self._records[record.version] = record.to_json()
        self._imports.pop(record.version, None)

    def record(self, version: str) -> VersionRecord | None:
        """A version's record."""
        text = self._records.get(version)
        return None if text is None else VersionRecord.from_json(text)

    def records(self) -> list[VersionRecord]:
        """All records, oldest first."""
        records = map(VersionRecord.from_json, self._records.values())
        return sorted(records, key=lambda record: (record.created_at, record.version))

    def begin_import(self, version: str, export: str) -> None:
        """Stores what a version's collections are loaded from, until its record is written."""
        self._imports[version] = export

    def import_begun(self, version: str) -> str:
        """What `begin_import` stored of the version; "" if nothing is stored."""
        return self._imports.get(version, "")

    def discard_damaged_alias(self) -> None:
        """Does nothing: memory does not break."""

    def discard_damaged_records(self) -> None:
        """Does nothing: memory does not break."""

    def drop_record(self, version: str) -> None:
        """Removes a version's record if there is one.

        Raises: PlanRefused if it is the live version's.
        """
        if version == self._live:
            raise PlanRefused(
                f"version {version} is live", "a version that is not live", "activate another"
            )
        self._records.pop(version, None)
        self._imports.pop(version, None)
