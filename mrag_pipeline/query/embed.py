"""Second step: the windows of several queries are embedded in one batch.

Needs the model and knows no index; an `EmbeddedQuery` can be sent to where the index is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.aspects import Aspect, aspects_of
from mrag_pipeline.domain.heads import Embeddings, EncoderCard
from mrag_pipeline.domain.windows import Window
from mrag_pipeline.ports import Encoder, Segmenter
from mrag_pipeline.query.checks import check_query
from mrag_pipeline.query.cut import cut, windows_to_search
from mrag_pipeline.query.question import EmbeddedQuery, Query
from mrag_pipeline.settings.retrieve import RetrieveSpec


class QueryEmbedder:
    """Cuts queries into windows and embeds the windows of all of them in one batch."""

    def __init__(
        self, encoder: Encoder, segmenter: Segmenter, spec: RetrieveSpec | None = None
    ) -> None:
        self._encoder = encoder
        self._segmenter = segmenter
        self._spec = spec or RetrieveSpec()

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._encoder.card

    def embed(self, queries: Sequence[Query]) -> list[EmbeddedQuery]:
        """The queries' windows and their embeddings, in order, from one call of the encoder.

        Raises: ConfigError, as `check_query` does.
        """
        if not queries:
            return []
        started = time.perf_counter()
        chosen = [check_query(query, self._spec) for query in queries]
        cuts = [
            cut(query, strategy, self._segmenter, self._spec.windows)
            for query, strategy in zip(queries, chosen, strict=True)
        ]
        cut_done = time.perf_counter()
        texts = list(dict.fromkeys(window.text for windows in cuts for window in windows))
        row_of = {text: row for row, text in enumerate(texts)}
        embeddings = self._encoder.encode(texts, "query")
        seconds = {"windows": cut_done - started, "encode": time.perf_counter() - cut_done}
        embedded = []
        for query, strategy, windows in zip(queries, chosen, cuts, strict=True):
            rows = np.array([row_of[window.text] for window in windows], np.intp)
            standard = embeddings.standard[rows]
            searched = windows_to_search(query, strategy, standard, self._spec.windows)
            embedded.append(
                EmbeddedQuery(
                    tuple(windows[row] for row in searched.tolist()),
                    _rows(embeddings, rows[searched]),
                    seconds,
                    len(queries),
                    tuple(self._aspects(query, windows, standard, searched)),
                )
            )
        return embedded

    def _aspects(
        self,
        query: Query,
        windows: Sequence[Window],
        standard: NDArray[np.float32],
        searched: NDArray[np.intp],
    ) -> list[Aspect]:
        """The query's aspects, whose windows are rows of those that are searched.

        Args:
            windows: as they were cut; standard: (W, E) of them.
            searched: rows of `windows`; one that is not searched is like one of these.
        """
        is_long = all(window.scale in ("query", "span") for window in windows[1:])
        sentences = self._segmenter.sentences(query.text) if is_long and len(windows) > 1 else ()
        if len(sentences) > self._spec.windows.max_windows:
            sentences = ()
        nearest = (standard @ standard[searched].T).argmax(axis=1).tolist()  # itself if searched
        return [
            replace(aspect, windows=tuple(dict.fromkeys(nearest[row] for row in aspect.windows)))
            for aspect in aspects_of(query.text, windows, sentences)
        ]


def _rows(embeddings: Embeddings, rows: NDArray[np.intp]) -> Embeddings:
    """Those rows; the embeddings themselves, not a copy, if that is all of them in order."""
    if len(rows) == len(embeddings) and np.array_equal(rows, np.arange(len(rows))):
        return embeddings
    return Embeddings(
        embeddings.heads[rows], embeddings.standard[rows], embeddings.num_tokens[rows]
    )
