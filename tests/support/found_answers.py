"""Answers made by hand, for tests of the observer."""

from __future__ import annotations

import numpy as np

from mrag_pipeline.domain.voting import Hit
from mrag_pipeline.domain.windows import Window
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.query.answer import Answer, FoundDocument
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.backend import Ask

SECONDS = {"windows": 0.001, "encode": 0.03, "search": 0.01, "fetch": 0.004, "vote": 0.002}


def answer(
    query: str = "words",
    num_windows: int = 3,
    num_hits: int = 2,
    missing: tuple[str, ...] = (),
    version: str = "v1",
    strategy: str = "aspect",
    num_batched: int = 4,
) -> Answer:
    """An answer with that many windows and hits; 47 ms in all."""
    row = ChunkRow(1, "d", 0, 0, 1, f"{query} title", f"{query} text", {})
    hit = Hit("d", (1,), 1.0, 1.0, np.ones((2, num_windows)))
    return Answer(
        strategy,
        version,
        tuple(Window(f"{query} {at}", 0, 1, "sentence") for at in range(num_windows)),
        ("l05_h00", "standard"),
        tuple(FoundDocument(hit, row) for _ in range(num_hits)),
        2 * num_windows,
        SECONDS,
        missing,
        num_batched,
    )


def ask(query: str = "words", k: int = 10) -> Ask:
    """A question."""
    return Ask(Query(query), k)
