"""Stores the documents that a run set aside, and lists them in the Prefect UI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.flows import artifacts
from mrag_pipeline.ports import Staging
from mrag_pipeline.stages.ingest.read_ahead import read_ahead


def staged_letters(staging: Staging, shards: Iterable[int]) -> list[DeadLetter]:
    """Documents that could not be embedded, and those that were left out afterwards.

    Raises: StagingError if one of the shards is not staged.
    """
    not_embedded = read_ahead(staging.dead_letters, shards)
    left_out = (staging.duplicates() or {}).values()
    return [letter for of_shard in (*not_embedded, *left_out) for letter in of_shard]


def keep_letters(config: Config, run: str, letters: Sequence[DeadLetter]) -> str:
    """Stores a run's dead letters for `mrag deadletters`; returns where, "" if there are none."""
    if not letters:
        return ""
    location = wiring.dead_letters(config).write(run, letters)
    artifacts.dead_letters(config.index, location, letters)
    return location
