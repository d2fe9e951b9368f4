"""Version records, and the alias that makes one version live."""

from __future__ import annotations

from typing import Protocol

from mrag_pipeline.domain.version import VersionRecord


class Versions(Protocol):
    """The versions of one index.

    All but `describe` raise IndexBusy (another process owns the index) or IndexUnavailable when
    they cannot answer.
    """

    def describe(self) -> str:
        """One line for people: which store, and where it is."""

    def live(self) -> str | None:
        """The live version's name.

        Raises: IndexDamaged if the alias cannot be read.
        """

    def activate(self, version: str) -> None:
        """Makes a version live: one atomic flip of one alias.

        Raises: PlanRefused if the version has no chunks collection.
        """

    def write_record(self, record: VersionRecord) -> None:
        """Stores a version's record, replacing an earlier one whole."""

    def record(self, version: str) -> VersionRecord | None:
        """A version's record.

        Raises: VerifyFailed if it is damaged.
        """

    def records(self) -> list[VersionRecord]:
        """All records, oldest first."""

    def begin_import(self, version: str, export: str) -> None:
        """Stores what a version's collections are loaded from, until its record is written.

        Writing or dropping the version's record removes it; no reader takes it for a record.

        Args:
            export: names what is imported; at most 256 characters.
        """

    def import_begun(self, version: str) -> str:
        """What `begin_import` stored of the version; "" if nothing is stored."""

    def discard_damaged_alias(self) -> None:
        """Removes an alias that cannot be read, so that a version can be made live again."""

    def discard_damaged_records(self) -> None:
        """Removes all records if they cannot be read, so that one can be written again."""

    def drop_record(self, version: str) -> None:
        """Removes a version's record if there is one.

        Raises: PlanRefused if it is the live version's.
        """
