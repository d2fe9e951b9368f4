"""Stores the documents that a run set aside, and lists them in the Prefect UI."""

from __future__ import annotations

from collections.abc import Sequence

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.flows import artifacts


def keep_letters(config: Config, run: str, letters: Sequence[DeadLetter]) -> str:
    """Stores a run's dead letters for `mrag deadletters`; returns where, "" if there are none."""
    if not letters:
        return ""
    location = wiring.dead_letters(config).write(run, letters)
    artifacts.dead_letters(config.index, location, letters)
    return location
