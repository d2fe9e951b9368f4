"""The documents that could not be taken, a Parquet file for each run.

    {uri}/{index}/dead_letters/v0123456789ab.parquet              of its ingest
                               v0123456789ab-sync-00001.parquet   of a sync

A run that goes on, or is done again, writes its own file anew: the same letters, the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import StagingError
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.atomic_folder import Folder

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
        name = f"{what}{_ENDING}"
        table = tables.dead_letter_table(letters)
        self._folder.write(name, tables.parquet(table, self._compression))
        return self._folder.describe(name)

    def runs(self) -> list[str]:
        """The runs that have a file, the one written last at the end."""
        written = self._folder.modified("")
        names = sorted(written, key=lambda name: (written[name], name))
        return [name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING)]

    def read(self, run: str) -> list[DeadLetter]:
        """A run's dead letters.

        Raises: NewerFormat; StagingError if there is no such run, or its file is damaged.
        """
        content = self._folder.read(f"{run}{_ENDING}")
        if content is None:
            known = ", ".join(self.runs()[-3:]) or "none yet"
            raise StagingError(
                f"no dead letters of run {run!r} in {self._folder.name}",
                f"a run of `mrag deadletters list`: {known}",
            )
        try:
            return tables.dead_letters_of(tables.from_parquet(content))
        except (StagingError, pa.ArrowException, OSError) as error:
            path = self._folder.describe(f"{run}{_ENDING}")
            why = error.found if isinstance(error, StagingError) else error
            raise StagingError(
                f"{path} is damaged: {why}",
                "dead letters as a run wrote them",
                "remove it; `mrag ingest` or `mrag sync`, whichever wrote it, lists them again",
            ) from error
