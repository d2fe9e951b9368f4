"""The voters of a strategy: what each searches for, and the weight of its vote.

Shape legend: V voters, W windows, H heads, E standard width.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.vote_spec import LEXICAL, STANDARD
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import AnySearchRequest, SearchRequest, TextSearchRequest
from mrag_pipeline.query.question import EmbeddedQuery


@dataclass(frozen=True, slots=True, eq=False)
class Voters:
    """V voters, what each requests of the index for all W windows, and its weight."""

    names: tuple[str, ...]
    requests: tuple[AnySearchRequest, ...]
    weights: NDArray[np.float64]  # (V,)


def voters_of(
    strategy: Strategy, record: VersionRecord, embedded: EmbeddedQuery, limit: int
) -> Voters:
    """The strategy's voters in a version; without a lexical one where the version has no words.

    Raises: ConfigError if the strategy searches words alone and the version has none.
    """
    embeddings, chunks_collection = embedded.embeddings, record.chunks_collection()
    names: list[str] = []
    requests: list[AnySearchRequest] = []
    weights: list[float] = []
    num_heads = len(record.encoder.heads)
    importance = record.importance() if strategy.weighted else np.ones(num_heads)
    # The weights of the others are shares of all heads', whether heads vote or not.
    whole = float(importance.sum()) if "heads" in strategy.voters else 1.0
    if "heads" in strategy.voters:
        for head, collection in enumerate(record.head_collections()):
            vectors = np.ascontiguousarray(embeddings.heads[:, head])
            requests.append(SearchRequest(collection, vectors, limit))
        names += [str(head) for head in record.encoder.heads]
        weights += importance.tolist()
    if "pieces" in strategy.voters:
        piece_names, piece_vectors = pieces(embeddings.standard, num_heads)
        names += piece_names
        requests += [SearchRequest(chunks_collection, piece, limit) for piece in piece_vectors]
        weights += [1.0] * num_heads
    if "standard" in strategy.voters:
        names.append(STANDARD)
        requests.append(SearchRequest(chunks_collection, embeddings.standard, limit))
        weights.append(strategy.vote.standard_weight * whole if len(strategy.voters) > 1 else 1.0)
    lexical = record.lexical_collection()
    if "lexical" in strategy.voters and lexical is not None and record.lexical is not None:
        names.append(LEXICAL)
        texts = tuple(window.text for window in embedded.windows)
        requests.append(TextSearchRequest(lexical, texts, limit, record.lexical))
        weights.append(strategy.vote.lexical_weight * whole if len(strategy.voters) > 1 else 1.0)
    if not names:
        raise ConfigError(
            f"strategy {strategy.name} on {record.version}, which has no lexical collection",
            "a version built on a store with full-text search, with lexical.enabled = true",
            "use another strategy, or run `mrag ingest` where the store has full-text search",
        )
    return Voters(tuple(names), tuple(requests), np.array(weights))


def pieces(
    standard: NDArray[np.float32], num_pieces: int
) -> tuple[tuple[str, ...], list[NDArray[np.float32]]]:
    """The standard vectors with all but one piece set to zero, once for each piece.

    With these, the collection of whole vectors ranks by each piece's inner product.
    """
    edges = np.linspace(0, standard.shape[1], num_pieces + 1).astype(int)
    cut = []
    for start, end in itertools.pairwise(edges.tolist()):
        piece = np.zeros_like(standard)
        piece[:, start:end] = standard[:, start:end]
        cut.append(piece)
    return tuple(f"piece_{number:02d}" for number in range(num_pieces)), cut
