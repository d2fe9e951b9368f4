"""A version's words in Milvus: a collection that its own BM25 function and index search.

Lite has them from 3.2 on, servers from 2.5. The words are ours (`index/analyzer.py`), joined by
spaces; Milvus's standard analyzer splits them again into the same.
Shape legend: W queries, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient

from mrag_pipeline.index.analyzer import analyzer_of
from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.expressions import ids_in
from mrag_pipeline.index.milvus.in_memory import InMemory
from mrag_pipeline.index.milvus.schema import MAX_VARCHAR_BYTES
from mrag_pipeline.ports import Ranking, TextSearchRequest
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.milvus import MilvusSpec

if TYPE_CHECKING:
    import pyarrow as pa

WORDS, VECTOR = "words", "lexical"  # the fields: our words, and what BM25 counts of them
FIELDS = ("chunk_id", WORDS)
_QUERIES = 256  # of one call


def lexical_schema() -> CollectionSchema:
    """The fields of a lexical collection: id, words, and their counts by Milvus's function."""
    fields = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    fields.add_field("chunk_id", DataType.INT64, is_primary=True)
    fields.add_field(
        WORDS,
        DataType.VARCHAR,
        max_length=MAX_VARCHAR_BYTES,
        enable_analyzer=True,
        analyzer_params={"tokenizer": "standard"},
    )
    fields.add_field(VECTOR, DataType.SPARSE_FLOAT_VECTOR)
    fields.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=[WORDS],
            output_field_names=[VECTOR],
        )
    )
    return fields


def add_lexical_index(params: Any, spec: LexicalSpec) -> None:
    """Adds the BM25 index to what `prepare_index_params` gave."""
    params.add_index(
        VECTOR,
        index_type="SPARSE_INVERTED_INDEX",
        metric_type="BM25",
        params={"bm25_k1": spec.k1, "bm25_b": spec.b},
    )


def lexical_rows(table: pa.Table, spec: LexicalSpec) -> list[dict[str, Any]]:
    """The rows of a lexical collection from those of the chunks collection."""
    columns = (table.column(name).to_pylist() for name in ("chunk_id", "title", "text"))
    return [
        words_row(chunk_id, title, text, spec)
        for chunk_id, title, text in zip(*columns, strict=True)
    ]


def words_row(chunk_id: int, title: str, text: str, spec: LexicalSpec) -> dict[str, Any]:
    """The row of a lexical collection for one chunk."""
    return {"chunk_id": chunk_id, WORDS: analyzer_of(spec).passage(title, text)}


class TextSearches:
    """Searches by words; safe to share by threads."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, in_memory: InMemory) -> None:
        """Ready to search.

        Args:
            in_memory: reads from a collection that is in memory then.
        """
        self._client = client
        self._spec = spec
        self._in_memory = in_memory

    def search(self, request: TextSearchRequest, timeout_s: float) -> Ranking:
        """The ranking of each text; a text without words has no hits."""
        ranking = request.nothing()
        if request.among is not None and not len(request.among):
            return ranking
        analyzer = analyzer_of(request.lexical)
        words = [analyzer.question(text) for text in request.texts]
        with_words = [row for row, text in enumerate(words) if text]
        matching = "" if request.among is None else ids_in(request.among.tolist())
        for start in range(0, len(with_words), _QUERIES):
            rows = with_words[start : start + _QUERIES]
            data = [words[row] for row in rows]
            with translated(f"cannot search {request.collection}"):
                answer = self._in_memory(
                    request.collection,
                    partial(
                        self._hits, request.collection, data, request.limit, matching, timeout_s
                    ),
                )
            for row, hits in zip(rows, answer, strict=True):
                _fill(ranking, row, hits.ids, hits.distances)
        return ranking

    def _hits(
        self, collection: str, words: list[str], limit: int, matching: str, timeout_s: float
    ) -> Any:
        return self._client.search(
            collection,
            data=words,
            limit=limit,
            filter=matching,
            output_fields=["chunk_id"],
            search_params={"metric_type": "BM25", "params": {}},
            anns_field=VECTOR,
            consistency_level=self._spec.consistency,
            timeout=timeout_s,
        )


def _fill(ranking: Ranking, row: int, ids: Sequence[int], distances: Sequence[float]) -> None:
    """Writes the hits that share a word with the query; equal scores by rising id."""
    # Lite returns a negative distance, servers a positive score; 0 means no word in common.
    scores = np.abs(np.asarray(distances, np.float32))
    chunk_ids = np.asarray(ids, np.int64)
    order = np.lexsort((chunk_ids, -scores))
    order = order[scores[order] > 0]
    ranking.ids[row, : len(order)] = chunk_ids[order]
    ranking.scores[row, : len(order)] = scores[order]
