"""The documents that could not be taken, a Parquet file for each run.

{uri}/{index}/dead_letters/20261123T010203Z-v0123456789ab-sync-00001.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import StagingError
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.folder import Folder
from mrag_pipeline.staging.spec import StagingSpec

_ENDING = ".parquet"


class DeadLetterFiles:
    """The dead letters of one index."""

    def __init__(self, spec: StagingSpec, index: str) -> None:
        self._folder = Folder(spec.uri, index, "dead_letters")
        self._compression = spec.compression

    def write(self, what: str, letters: Sequence[DeadLetter]) -> str:
        """Keeps a run's dead letters, perhaps none; returns where.

        Args:
            what: names the run: `v0123456789ab-sync-00001`.
        """
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{started}-{what}{_ENDING}"
        table = tables.dead_letter_table(letters)
        self._folder.write(name, tables.parquet(table, self._compression))
        return self._folder.describe(name)

    def runs(self) -> list[str]:
        """The runs that have a file, oldest first."""
        names = self._folder.sizes("")
        return sorted(name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING))

    def read(self, run: str) -> list[DeadLetter]:
        """A run's dead letters.

        Raises: StagingError if there is no such run.
        """
        content = self._folder.read(f"{run}{_ENDING}")
        if content is None:
            known = ", ".join(self.runs()[-3:]) or "none yet"
            raise StagingError(
                f"no dead letters of run {run!r} in {self._folder.name}",
                f"a run of `mrag deadletters list`: {known}",
            )
        return tables.dead_letters_of(tables.from_parquet(content))
