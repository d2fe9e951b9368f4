"""What a run could not take: a file for `mrag deadletters`, and a table in the Prefect UI."""

from __future__ import annotations

from collections.abc import Sequence

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.flows import artifacts


def keep_letters(config: Config, run: str, letters: Sequence[DeadLetter]) -> str:
    """Where the run's dead letters are, for `mrag deadletters`; empty if there are none."""
    if not letters:
        return ""
    place = wiring.dead_letters(config).write(run, letters)
    artifacts.dead_letters(config.index, place, letters)
    return place
