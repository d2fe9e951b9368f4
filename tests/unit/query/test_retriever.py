"""A query is answered from a version, over a fake encoder and exact search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from mrag_pipeline.domain.bm25 import Bm25
from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.heads import Embeddings, Role
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.lexical import lexical_query, lexical_text
from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.vote_spec import STANDARD
from mrag_pipeline.errors import ConfigError, FingerprintMismatch
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    QueryIndex,
    Ranking,
    SearchRequest,
    TextSearchRequest,
)
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.windows import WindowSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter

TEXTS = {
    "dog": ["a shaggy herding dog of the hills", "the dog guards sheep by night"],
    "star": ["a cool giant star rich in carbon"],
    "cake": ["layered butter cake from brittany"],
    "sword": ["a curved sword of hammered steel", "the sword of the northern smiths"],
    "reed": ["a small flute cut from river reed"],
}
CHUNKS = [(document, text) for document, texts in TEXTS.items() for text in texts]
QUERY = (
    "the shaggy herding dog ran over the hills. a cool giant star rich in carbon shone. "
    "she ate layered butter cake from brittany. a curved sword of hammered steel hung there."
)
SPEC = RetrieveSpec(windows=WindowSpec(short_words=8, span_words=8, run_words=16, max_windows=32))


class SmallIndex:
    """The texts in every head's collection and in the chunks collection; chunk i has id i + 1."""

    def __init__(self, record: VersionRecord, encoder: FakeEncoder) -> None:
        made = encoder.encode([text for _, text in CHUNKS], "document")
        self.vectors = dict(
            zip(record.head_collections(), made.heads.transpose(1, 0, 2), strict=True)
        )
        self.vectors[record.chunks_collection()] = made.standard
        self.rows = {
            chunk_id: ChunkRow(chunk_id, document, 0, 0, len(text), document, text, {})
            for chunk_id, (document, text) in enumerate(CHUNKS, start=1)
        }
        words = [lexical_text(document, text, LexicalSpec()) for document, text in CHUNKS]
        self.words = Bm25(list(self.rows), words)
        self.requests: list[AnySearchRequest] = []
        self.scored: list[AnySearchRequest] = []  # by id, after the vote
        self.early: list[Sequence[int]] = []
        self.fetched: list[Sequence[int]] = []

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        self.requests += [request for request in requests if request.among is None]
        self.scored += [request for request in requests if request.among is not None]
        return [self._ranking(request) for request in requests]

    def _ranking(self, request: AnySearchRequest) -> Ranking:
        if isinstance(request, TextSearchRequest):
            questions = [lexical_query(text, request.lexical) for text in request.texts]
            return Ranking(*self.words.search(questions, request.limit, request.among))
        ids = np.arange(1, len(CHUNKS) + 1)
        vectors = self.vectors[request.collection]
        if request.among is not None:
            ids, vectors = request.among, vectors[request.among - 1]
        return Ranking(*top_k(ids, vectors, request.vectors, request.limit))

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        self.early.append(likely)
        return {
            chunk_id: self.rows[chunk_id].document_id for chunk_id in ids if chunk_id in self.rows
        }, {}

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        self.fetched.append(ids)
        return {chunk_id: self.rows[chunk_id] for chunk_id in ids if chunk_id in self.rows}


class CountingEncoder(FakeEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        assert role == "query" or len(texts) == len(CHUNKS)
        self.batches.append(len(texts))
        return super().encode(texts, role)


class Toy:
    """A retriever over the texts, and the parts it is made of."""

    def __init__(self) -> None:
        self.encoder = CountingEncoder()
        vectors = FakeEncoder().encode([text for _, text in CHUNKS], "document").heads
        self.record = VersionRecord(
            index="toy",
            version="v0123456789ab",
            fingerprint="",
            encoder=self.encoder.card,
            chunking=ChunkingSpec(),
            sums=ImportanceSums.of(vectors),
            num_documents=len(TEXTS),
            num_chunks=len(CHUNKS),
            num_dead_letters=0,
            created_at="2026",
            corpus="toy.jsonl",
            lexical=LexicalSpec(),
        )
        self.index = SmallIndex(self.record, self.encoder)
        self.encoder.batches.clear()
        index = cast(QueryIndex, self.index)  # it has what retrieving calls
        self.retriever = Retriever(self.encoder, FakeSegmenter(), index, self.record, SPEC)

    def ask(self, query: str = QUERY, k: int = 4, strategy: str = "aspect") -> Answer:
        return self.retriever.retrieve(query, k, strategy, ("herding dog", "giant star carbon"))


@pytest.fixture
def toy() -> Toy:
    return Toy()


def test_a_query_of_four_subjects_finds_all_four(toy: Toy) -> None:
    """Each document once, though the dog and the sword have two passages."""
    assert sorted(toy.ask().documents()) == ["cake", "dog", "star", "sword"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_answers_k_documents_once(toy: Toy, name: str) -> None:
    """As many as were asked for, with the row of the best passage."""
    answer = toy.ask(k=3, strategy=name)
    assert len(set(answer.documents())) == 3
    for document in answer.found:
        assert document.row.id == document.hit.chunk_ids[0]
        assert document.row.document_id == document.hit.document_id
        assert document.hit.parts.shape == (len(answer.voters), len(answer.windows))
        assert document.hit.parts.any()


def test_windows_go_through_one_batch_and_one_search_call(toy: Toy) -> None:
    """All heads are searched for all windows at once, the standard vector with them."""
    answer = toy.ask()
    assert toy.encoder.batches == [len(answer.windows)]
    collections = [request.collection for request in toy.index.requests]
    record = toy.record
    assert collections == [*record.head_collections(), record.chunks_collection()]
    for request in toy.index.requests:
        assert isinstance(request, SearchRequest)
        assert len(request.vectors) == len(answer.windows)
    assert answer.voters == (*(str(head) for head in record.encoder.heads), STANDARD)
    assert answer.num_searches == len(collections) * len(answer.windows)
    (fetched,) = toy.index.fetched
    winners = [document.row.id for document in answer.found]
    assert sorted(fetched) == sorted(winners), "texts of the winners only"


def test_mrag_searches_heads_only_and_the_whole_query(toy: Toy) -> None:
    """The paper's rule: no windows, no standard vector."""
    answer = toy.ask(strategy="mrag")
    assert [window.text for window in answer.windows] == [QUERY]
    assert STANDARD not in answer.voters
    assert len(toy.index.requests) == len(toy.record.encoder.heads)


def test_a_short_query_under_aspect_is_mrag_and_the_standard_vector(toy: Toy) -> None:
    """One window, so the heads' parts are those of the paper's rule."""
    query = "giant carbon star"
    aspect, mrag = toy.ask(query, strategy="aspect"), toy.ask(query, strategy="mrag")
    assert len(aspect.windows) == 1
    heads = len(toy.record.encoder.heads)
    expected = {document.hit.document_id: document.hit.parts for document in mrag.found}
    for document in aspect.found:
        hit = document.hit
        if hit.document_id in expected:
            np.testing.assert_array_equal(hit.parts[:heads], expected[hit.document_id])


def test_standard_is_the_order_of_similarity(toy: Toy) -> None:
    """Documents by their nearest passage, found without the code under test."""
    embedded = FakeEncoder().encode([QUERY], "query").standard[0]
    passages = FakeEncoder().encode([text for _, text in CHUNKS], "document").standard
    order = np.argsort(-(passages @ embedded))
    expected = list(dict.fromkeys(CHUNKS[index][0] for index in order))
    assert toy.ask(k=5, strategy="standard").documents() == expected


def test_a_deleted_chunk_is_never_found(toy: Toy) -> None:
    """Its vectors may still be in the heads; its row is gone, so its votes are dropped."""
    for chunk_id, row in list(toy.index.rows.items()):
        if row.document_id == "star":
            del toy.index.rows[chunk_id]
    answer = toy.ask(k=9)
    assert "star" not in answer.documents()
    assert len(answer.found) == len(TEXTS) - 1


def test_fusion_joins_the_sub_queries(toy: Toy) -> None:
    """Each sub-query's first document comes before any second; the query itself is not searched."""
    answer = toy.ask(k=2, strategy="fusion-mrag")
    assert sorted(answer.documents()) == ["dog", "star"]
    assert [window.text for window in answer.windows] == ["herding dog", "giant star carbon"]


def test_an_encoder_that_did_not_build_the_version_is_refused(toy: Toy) -> None:
    """Its vectors would mean something else."""
    other = FakeEncoder(EncoderSpec(model="other", max_tokens=64))
    with pytest.raises(FingerprintMismatch, match="other"):
        Retriever(other, FakeSegmenter(), cast(QueryIndex, toy.index), toy.record)


@pytest.mark.parametrize(
    ("query", "k", "strategy", "message"),
    [
        (" \n", 3, "aspect", "without text"),
        ("dog", 0, "aspect", "k = 0"),
        ("dog", 3, "fusion", "without sub-queries"),
        ("dog", 3, "aspekt", "did you mean `aspect`"),
    ],
)
def test_an_invalid_question_is_refused(
    toy: Toy, query: str, k: int, strategy: str, message: str
) -> None:
    """The error comes before any search and says what to do."""
    with pytest.raises(ConfigError, match=message):
        toy.retriever.retrieve(query, k, strategy)
    assert toy.index.requests == []
