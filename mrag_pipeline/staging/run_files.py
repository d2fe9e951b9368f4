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

NUM_KEPT = 1_000  # runs of each kind, the latest ones: many pushes remove no ingest
_ENDING = ".json"


class RunFiles:
    """The runs of one index."""

    def __init__(self, spec: StagingSpec, index: str) -> None:
        self._folder = Folder(spec.uri, index, "runs")

    def write(self, facts: RunFacts) -> None:
        """Keeps what is known of a run now; at its end the oldest of its kind beyond NUM_KEPT go.

        Raises: StorageFull, StagingError.
        """
        self._folder.write(f"{facts.run}{_ENDING}", facts.to_json().encode())
        if facts.state != "running":
            for name in self._names(facts.kind)[:-NUM_KEPT]:
                self._folder.remove(name)
            self._folder.sweep("")

    def latest(self, limit: int, kind: str = "") -> list[RunFacts]:
        """The runs that started last, the latest first.

        Args:
            kind: of these runs; empty: any.
        Raises: StagingError.
        """
        runs: list[RunFacts] = []
        for name in reversed(self._names(kind)):
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

    def _names(self, kind: str) -> list[str]:
        """Of the files of runs, the oldest first."""
        names = [name for name in self._folder.sizes("") if name.endswith(_ENDING)]
        return sorted(name for name in names if not kind or name.split("-")[1:2] == [kind])
