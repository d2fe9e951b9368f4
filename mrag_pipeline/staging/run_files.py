"""What is kept of an index's runs, a small JSON file for each.

    {uri}/{index}/runs/20261130T013000.123456Z-ingest-4f2a.json

The file is written when a run starts and again when it ends, by the run itself: whatever runs it, a
command, Prefect or a program, and wherever its workers are.
"""

from __future__ import annotations

import logging

from mrag_pipeline.domain.run_facts import RunFacts
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.atomic_folder import Folder

log = logging.getLogger(__name__)

NUM_KEPT = 1_000  # runs, the latest ones
_ENDING = ".json"


class RunFiles:
    """The runs of one index."""

    def __init__(self, spec: StagingSpec, index: str) -> None:
        self._folder = Folder(spec.uri, index, "runs")

    def write(self, facts: RunFacts) -> None:
        """Keeps what is known of a run now; when it ends, the oldest runs beyond NUM_KEPT go.

        Raises: StorageFull, StagingError.
        """
        self._folder.write(f"{facts.run}{_ENDING}", facts.to_json().encode())
        if facts.state != "running":
            for name in self._names()[:-NUM_KEPT]:
                self._folder.remove(name)
            self._folder.sweep("")

    def latest(self, limit: int) -> list[RunFacts]:
        """The runs that started last, the latest first.

        Raises: StagingError.
        """
        runs: list[RunFacts] = []
        for name in reversed(self._names()):
            if len(runs) == limit:
                break
            content = self._folder.read(name)
            if content is None:  # removed meanwhile
                continue
            try:
                runs.append(RunFacts.from_json(content.to_pybytes().decode()))
            except (ValueError, TypeError) as error:
                log.warning("run_unreadable file=%s error=%r", name, str(error))
        return runs

    def _names(self) -> list[str]:
        """Of all files of runs, the oldest first."""
        return sorted(name for name in self._folder.sizes("") if name.endswith(_ENDING))
