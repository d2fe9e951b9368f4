"""A small world of made chunks, and questions to search it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, Encoder, VectorIndex
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.filtering import FilterSpec
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.retrieve import DepthSpec, RetrieveSpec
from mrag_pipeline.settings.windows import WindowSpec
from mrag_pipeline.staging.tables import chunk_table, head_table
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter

WORDS = [
    *("dog", "star", "cake", "sword", "reed", "river"),
    *("hill", "carbon", "hammer", "flute", "sheep", "steel"),
]
VERSION = "v0123456789ab"
WINDOWS = WindowSpec(short_words=4, span_words=4, run_words=8, max_windows=6)
# So shallow that even rankings of a few chunks are cut and every way to filter is used.
DEPTH = DepthSpec(hits_per_voter=4, min_hits_per_ranking=2, candidates=40)
SPEC = RetrieveSpec(windows=WINDOWS, depth=DEPTH)
WAYS = {
    "among ids": FilterSpec(),
    "longer rankings": FilterSpec(most_ids=0, first_depth=1),
    "in blocks": FilterSpec(most_ids=3, first_depth=1, max_hits=17),
}
QUERIES = [
    "dog on the hill",
    "the sheep dog ran. a carbon star shone over the river. a sword of hammered steel",
    "cake",
    "flute cut from reed near the river and a star of the hill dog",
]


class CountingEncoder(FakeEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def encode(self, texts: Sequence[str], role: Any) -> Any:
        self.batches.append(len(texts))
        return super().encode(texts, role)


def random_chunks(num_chunks: int = 60) -> list[Chunk]:
    """Chunks of a few random words each; about two of a document."""
    draw = np.random.default_rng(5)
    chunks = []
    for position in range(num_chunks):
        words = draw.choice(WORDS, draw.integers(2, 7)).tolist()
        number = int(draw.integers(0, num_chunks // 2))
        metadata: dict[str, str | int | float | bool] = {
            "year": 2000 + number % 10,
            "shelf": "ab"[number % 2],
        }
        text = " ".join(words)
        chunks.append(
            Chunk(
                *(position + 1, f"d{number}", position, 0, len(text), text),
                *(f"t{number % 3}", metadata, ""),
            )
        )
    return chunks


class World:
    """Chunks of made documents, some of whose rows are deleted though heads still have them."""

    def __init__(
        self, chunks: Sequence[Chunk] | None = None, encoder: Encoder | None = None
    ) -> None:
        self.encoder = encoder or CountingEncoder()
        self.chunks = random_chunks() if chunks is None else list(chunks)
        self.deleted = {7, 19, 40} if chunks is None else set()
        making = encoder or FakeEncoder()
        made = making.encode([chunk.text for chunk in self.chunks], "document")
        self.made = made
        self.record = VersionRecord(
            index="toy",
            version=VERSION,
            fingerprint="",
            encoder=self.encoder.card,
            chunking=ChunkingSpec(),
            sums=ImportanceSums.of(made.heads),
            num_documents=len({chunk.document_id for chunk in self.chunks}),
            num_chunks=len(self.chunks),
            num_dead_letters=0,
            created_at="2026",
            corpus="toy",
            lexical=LexicalSpec(),
        )
        self.index = self.holding(lambda chunk: True)
        self.index.delete(self.record.chunks_collection(), sorted(self.deleted))

    def holding(self, wanted: Callable[[Chunk], bool]) -> ExactIndex:
        """An index of some of the chunks."""
        index = ExactIndex("toy")
        self.load(index, [row for row, chunk in enumerate(self.chunks) if wanted(chunk)])
        return index

    def load(self, index: VectorIndex, rows: Sequence[int]) -> None:
        """Loads some of the chunks into every collection of an index."""
        ids = np.array([self.chunks[row].id for row in rows], np.int64)
        for head, name in enumerate(self.record.head_collections()):
            vectors = np.ascontiguousarray(self.made.heads[rows, head])
            index.load(
                CollectionSpec(name, "head", vectors.shape[1]),
                [head_table(ids, vectors, "float32")],
            )
        standard = self.made.standard[rows]
        texts = CollectionSpec(self.record.chunks_collection(), "chunks", standard.shape[1])
        table = chunk_table([self.chunks[row] for row in rows], standard)
        words = self.record.lexical_collection()
        index.load(CollectionSpec(str(words), "lexical", 0, self.record.lexical), [table])
        index.load(texts, [table])

    def matching_alone(self, wanted: Filter) -> ExactIndex:
        """An index of only the chunks that match a filter."""
        return self.holding(lambda chunk: chunk.id not in self.deleted and matches(wanted, chunk))

    def question(self, query: str, strategy: str = "aspect", **wanted: Any) -> Question:
        subs = ("giant star", "river reed") if "fusion" in strategy else ()
        to_embed = Query(query, strategy, subs)
        [embedded] = QueryEmbedder(self.encoder, FakeSegmenter(), SPEC).embed([to_embed])
        return Question(to_embed, embedded, **wanted)

    def searcher(
        self,
        index: Any = None,
        spec: RetrieveSpec = SPEC,
        filtering: FilterSpec | None = None,
        is_held: bool = False,
    ) -> Searcher:
        return Searcher(
            index or self.index, self.record, spec, filtering=filtering, is_held=is_held
        )


WORLD = World()
