"""A lexical collection in memory, searched by BM25: exact search's, for words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.bm25 import Bm25
from mrag_pipeline.index.analyzer import analyzer_of
from mrag_pipeline.ports import ChunkRow, Ranking, TextSearchRequest
from mrag_pipeline.settings.lexical import LexicalSpec

if TYPE_CHECKING:
    import pyarrow as pa


class LexicalTable:
    """The words of chunks; what was searched once is searched fast until a row changes."""

    def __init__(self, spec: LexicalSpec) -> None:
        """Empty."""
        self._analyzer = analyzer_of(spec)
        self._words: dict[int, str] = {}  # by chunk id
        self._bm25: Bm25 | None = None

    def add(self, table: pa.Table) -> None:
        """Adds rows of a chunks collection; a row whose id exists is replaced."""
        columns = (table.column(name).to_pylist() for name in ("chunk_id", "title", "text"))
        for chunk_id, title, text in zip(*columns, strict=True):
            self._words[chunk_id] = self._analyzer.passage(title, text)
        self._bm25 = None

    def write(self, chunks: Sequence[ChunkRow]) -> None:
        """Adds the words of these chunks; a row whose id exists is replaced."""
        for row in chunks:
            self._words[row.id] = self._analyzer.passage(row.title, row.text)
        self._bm25 = None

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Removes the rows that exist."""
        for chunk_id in ids.tolist():
            self._words.pop(chunk_id, None)
        self._bm25 = None

    def words(self) -> Mapping[int, str]:
        """The words by chunk id."""
        return self._words

    def ids(self) -> NDArray[np.int64]:
        """Every row's id, rising."""
        return np.array(sorted(self._words), np.int64)

    def search(self, request: TextSearchRequest) -> Ranking:
        """The ranking of each text."""
        if self._bm25 is None:
            spec = self._analyzer.spec
            self._bm25 = Bm25(list(self._words), list(self._words.values()), spec.k1, spec.b)
        questions = [self._analyzer.question(text) for text in request.texts]
        return Ranking(*self._bm25.search(questions, request.limit, request.among))
