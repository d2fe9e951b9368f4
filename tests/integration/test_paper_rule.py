"""With one window, `mrag` ranks as the paper does; the paper's rule is implemented here again.

MRAG (arXiv 2406.05085), section 3: a head's importance is the mean norm of its embeddings times
their mean pairwise cosine distance; each head ranks all documents by cosine distance to the
query's embedding of that head; the document at rank r of head h gets s_h * 2^-r (r from 0); the
votes are summed over the heads. This second implementation uses nothing of the package: it compares
every pair and ranks every document in plain Python and numpy.

The paper's documents have one embedding each. A document of several passages appears once in a
head's ranking, at its best passage; with one passage that is the paper's rule.

Shape legend: N chunks, H heads, D head dimension, E standard width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus.labelled.data_set import open_data_set
from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Head, Role
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, Encoder
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.staging.tables import chunk_table, head_table
from tests.support.fake_encoder import FakeSegmenter

MOST = 25  # documents compared; the most that any query of the paper asks for
VERSION = "v0123456789ab"


# ------------------------------------------------------------------ the paper's rule
def importance(heads: np.ndarray) -> list[float]:
    """s_h of (N, H, D): every pair is compared, as the authors' code does (self-pairs too)."""
    scores = []
    for head in range(heads.shape[1]):
        vectors = heads[:, head].astype(np.float64)
        norms = np.array([np.sqrt(np.dot(vector, vector)) for vector in vectors])
        cosines = (vectors @ vectors.T) / np.outer(norms, norms)
        scores.append(float(norms.mean()) * float((1.0 - cosines).mean()))
    return scores


def distances(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosine distance of (N, D) to (D,)."""
    stored, single = vectors.astype(np.float64), query.astype(np.float64)
    return 1.0 - (stored @ single) / (np.linalg.norm(stored, axis=1) * np.linalg.norm(single))


def by_the_paper(
    query: np.ndarray, heads: np.ndarray, scores: Sequence[float], owners: Sequence[str]
) -> list[tuple[str, float]]:
    """All documents with their votes, best first, of a query (H, D) over chunks (N, H, D)."""
    votes = dict.fromkeys(owners, 0.0)
    for head, score in enumerate(scores):
        nearest: dict[str, float] = {}
        for owner, far in zip(owners, distances(heads[:, head], query[head]), strict=True):
            nearest[owner] = min(far, nearest.get(owner, np.inf))
        for rank, owner in enumerate(sorted(nearest, key=lambda document: nearest[document])):
            votes[owner] += score * 2.0**-rank
    return sorted(votes.items(), key=lambda entry: -entry[1])


# ------------------------------------------------------------------ the product
class Given:
    """An encoder whose embeddings are given."""

    def __init__(self, card: EncoderCard, texts: Sequence[str], made: Embeddings) -> None:
        self.card = card
        self._rows = {text: row for row, text in enumerate(texts)}
        self._made = made

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        rows = [self._rows[text] for text in texts]
        made = self._made
        return Embeddings(made.heads[rows], made.standard[rows], made.num_tokens[rows])


def retriever(encoder: Encoder, owners: Sequence[str], made: Embeddings) -> Retriever:
    """A retriever over an exact index of the chunks, with importance from the product's sums."""
    record = VersionRecord(
        index="toy",
        version=VERSION,
        fingerprint="",
        encoder=encoder.card,
        chunking=ChunkingSpec(),
        sums=ImportanceSums.of(made.heads),
        num_documents=len(set(owners)),
        num_chunks=len(owners),
        num_dead_letters=0,
        created_at="2026",
        corpus="toy",
    )
    index = ExactIndex("toy")
    ids = np.arange(1, len(owners) + 1)
    for head, name in enumerate(record.head_collections()):
        table = head_table(ids, np.ascontiguousarray(made.heads[:, head]), "float32")
        index.load(CollectionSpec(name, "head", encoder.card.head_dim), [table])
    chunks = [
        Chunk(number, owner, 0, 0, 1, "x", "", {}, "")
        for number, owner in zip(ids.tolist(), owners, strict=True)
    ]
    texts = CollectionSpec(record.chunks_collection(), "chunks", encoder.card.standard_dim)
    index.load(texts, [chunk_table(chunks, made.standard)])
    return Retriever(encoder, FakeSegmenter(), index, record)


def ours(product: Retriever, query: str, k: int) -> list[tuple[str, float]]:
    answer = product.retrieve(query, k, "mrag")
    assert [window.text for window in answer.windows] == [query]
    return [(hit.hit.document_id, hit.hit.vote) for hit in answer.found]


def assert_same(ranked: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [name for name, _ in ranked] == [name for name, _ in expected]
    np.testing.assert_allclose(
        [vote for _, vote in ranked], [vote for _, vote in expected], rtol=1e-9
    )


# ------------------------------------------------------------------ both agree
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    passages=st.lists(st.integers(1, 3), min_size=2, max_size=20),
    num_heads=st.integers(1, 6),
    head_dim=st.integers(2, 8),
)
def test_small_random_indexes_rank_as_the_paper(
    seed: int, passages: list[int], num_heads: int, head_dim: int
) -> None:
    """Every document in the paper's order with the paper's vote, whatever the vectors' norms."""
    random = np.random.default_rng(seed)
    owners = [f"d{document}" for document, count in enumerate(passages) for _ in range(count)]
    shape = (len(owners) + 1, num_heads, head_dim)
    lengths = random.lognormal(size=(*shape[:2], 1))
    heads = (random.normal(size=shape) * lengths).astype(np.float32)
    standard = np.ones((len(heads), 1), np.float32)
    made = Embeddings(heads, standard, np.ones(len(heads), np.int64))
    card = EncoderCard(
        spec=EncoderSpec(model="given"),
        family="given",
        weights_hash="0" * 64,
        heads=tuple(Head(0, head) for head in range(num_heads)),
        head_dim=head_dim,
        standard_dim=1,
        max_tokens=9,
        pooling="cls",
        standard_pooling="mean",
    )
    texts = [f"chunk {number}" for number in range(len(owners))]
    encoder = Given(card, [*texts, "the query"], made)
    stored = Embeddings(heads[:-1], standard[:-1], made.num_tokens[:-1])
    ranked = ours(retriever(encoder, owners, stored), "the query", len(passages))
    expected = by_the_paper(heads[-1], heads[:-1], importance(heads[:-1]), owners)
    assert_same(ranked, expected)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_wikipedia_queries_rank_as_the_paper(minilm: EncoderSpec, datasets: Path) -> None:
    """250 stories over 1,250 whole articles with MiniLM: the same 25 documents, order and votes."""
    data = open_data_set("wikipedia-v1")
    encoder = load_encoder(minilm, device="cpu")
    owners = [document.id for document in data.documents]
    made = encoder.encode([document.text for document in data.documents], "document")
    queries = [query.text for query in data.labelled.queries]
    embedded = encoder.encode(queries, "query")
    assert (len(owners), len(queries)) == (1250, 250)
    product = retriever(Given(encoder.card, queries, embedded), owners, made)
    scores = importance(made.heads)
    for row, query in enumerate(queries):
        expected = by_the_paper(embedded.heads[row], made.heads, scores, owners)
        assert_same(ours(product, query, MOST), expected[:MOST])
