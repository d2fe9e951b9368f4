"""BM25 over texts in memory: what a store's full-text search is measured against.

    score(text, query) = sum over query words w of idf(w) * tf * (k1 + 1) / (tf + k1 * norm)
    idf(w) = ln(1 + (N - df + 0.5) / (df + 0.5)),  norm = 1 - b + b * length / mean length

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009; idf as in Lucene.
Shape legend: N texts, Q queries, c hits per ranking.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


class Bm25:
    """An inverted index over N texts, each a string of words joined by spaces."""

    def __init__(
        self, ids: Sequence[int], texts: Sequence[str], k1: float = 1.2, b: float = 0.75
    ) -> None:
        self._ids = np.asarray(ids, np.int64)  # (N,)
        counts = [Counter(text.split()) for text in texts]
        lengths = np.array([sum(words.values()) for words in counts], np.float64)
        mean = lengths.mean() if len(lengths) and lengths.any() else 1.0
        self._norms = k1 * (1.0 - b + b * lengths / mean)  # (N,)
        self._k1 = k1
        postings: dict[str, tuple[list[int], list[int]]] = {}
        for row, words in enumerate(counts):
            for word, count in words.items():
                rows, frequencies = postings.setdefault(word, ([], []))
                rows.append(row)
                frequencies.append(count)
        self._postings: Mapping[str, tuple[NDArray[np.intp], NDArray[np.float64]]] = {
            word: (np.array(rows, np.intp), np.array(frequencies, np.float64))
            for word, (rows, frequencies) in postings.items()
        }

    def search(
        self, queries: Sequence[str], limit: int, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best texts for each query: ids (Q, c) and scores (Q, c), falling.

        Only texts with a word of the query are hits; missing ones are id -1 and score -inf. Equal
        scores by rising id. A word that a query repeats counts as often.

        Args:
            among: only texts of these ids; None: all.
        """
        ids = np.full((len(queries), limit), -1, np.int64)
        scores = np.full((len(queries), limit), -np.inf, np.float32)
        allowed = None if among is None else np.isin(self._ids, among)
        for number, query in enumerate(queries):
            totals = self.scores(query)
            hits = np.flatnonzero(totals > 0.0 if allowed is None else (totals > 0.0) & allowed)
            order = hits[np.lexsort((self._ids[hits], -totals[hits]))][:limit]
            ids[number, : len(order)] = self._ids[order]
            scores[number, : len(order)] = totals[order]
        return ids, scores

    def scores(self, query: str) -> NDArray[np.float64]:
        """Every text's score (N,), 0 without a word of the query."""
        totals = np.zeros(len(self._ids))
        for word, times in Counter(query.split()).items():
            if word not in self._postings:
                continue
            rows, frequencies = self._postings[word]
            idf = math.log1p((len(self._ids) - len(rows) + 0.5) / (len(rows) + 0.5))
            totals[rows] += (
                times * idf * frequencies * (self._k1 + 1.0) / (frequencies + self._norms[rows])
            )
        return totals
