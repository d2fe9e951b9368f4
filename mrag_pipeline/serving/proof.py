"""Proof that the index can search a version; it may resolve the alias and be unable to search.

Vectors in memory answer without the index, so their answers prove nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.domain.windows import whole
from mrag_pipeline.errors import MragError
from mrag_pipeline.query.question import EmbeddedQuery, Query, Question
from mrag_pipeline.serving.known_version import KnownVersion

# Readiness is proven by a search that is younger; questions prove it too.
PROVEN_S = 5.0


class Proof:
    """When the index last answered a search, and of which version. Threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is proven yet."""
        self._clock = clock
        self._proven: tuple[str, float] | None = None  # version, and when it last answered
        self._loaded = ""  # the version of which a search of all voters was answered

    def is_recent(self, version: str) -> bool:
        """Whether the index answered a search of the version a moment ago."""
        proven = self._proven
        return bool(proven and proven[0] == version and self._clock() - proven[1] <= PROVEN_S)

    def is_loaded(self, version: str) -> bool:
        """Whether a search of all the version's voters was answered at some time."""
        return self._loaded == version

    def answered(self, version: str) -> None:
        """The index answered a caller's search of the version."""
        self._proven = (version, self._clock())

    def failed(self) -> None:
        """The index did not answer a search."""
        self._proven = None

    def probe(self, known: KnownVersion, seconds: float) -> None:
        """Searches all of the version's voters, which loads its collections.

        Args:
            seconds: limit of one head's search.

        Raises: MragError if there is no answer.
        """
        card = known.searcher.record.encoder
        heads = np.ones((1, len(card.heads), card.head_dim), np.float32)
        standard = np.full((1, card.standard_dim), card.standard_dim**-0.5, np.float32)
        embedded = EmbeddedQuery(
            (whole("probe"),), Embeddings(heads, standard, np.ones(1, np.int64)), {}
        )
        question = Question(Query("probe"), embedded, k=1, seconds=seconds)
        [outcome] = known.index_searcher.outcomes([question])
        if isinstance(outcome, MragError):
            raise outcome
        self.answered(known.version)
        self._loaded = known.version
