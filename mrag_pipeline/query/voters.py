"""The voters of a strategy: what each searches for, and the weight of its vote.

Shape legend: V voters, W windows, H heads, E standard width.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.voting import weights_of
from mrag_pipeline.ports import SearchRequest

STANDARD = "standard"  # the name of the voter that is not a head


@dataclass(frozen=True, slots=True, eq=False)
class Voters:
    """V voters, what each requests of the index for all W windows, and its weight."""

    names: tuple[str, ...]
    requests: tuple[SearchRequest, ...]
    weights: NDArray[np.float64]  # (V,)


def voters_of(
    strategy: Strategy, record: VersionRecord, embeddings: Embeddings, limit: int
) -> Voters:
    """The strategy's voters in a version."""
    chunks_collection = record.chunks_collection()
    num_heads = len(record.encoder.heads)
    if strategy.voters == "standard":
        request = SearchRequest(chunks_collection, embeddings.standard, limit)
        return Voters((STANDARD,), (request,), np.ones(1))
    if strategy.voters == "pieces":
        names, pieces = _pieces(embeddings.standard, num_heads)
        requests = [SearchRequest(chunks_collection, piece, limit) for piece in pieces]
        return Voters(names, tuple(requests), np.ones(len(pieces)))
    names = tuple(str(head) for head in record.encoder.heads)
    requests = [
        SearchRequest(collection, np.ascontiguousarray(embeddings.heads[:, head]), limit)
        for head, collection in enumerate(record.head_collections())
    ]
    importance = record.importance() if strategy.weighted else np.ones(num_heads)
    weights = weights_of(importance, strategy.vote.standard_weight)
    if len(weights) > num_heads:
        names = (*names, STANDARD)
        requests.append(SearchRequest(chunks_collection, embeddings.standard, limit))
    return Voters(names, tuple(requests), weights)


def _pieces(
    standard: NDArray[np.float32], num_pieces: int
) -> tuple[tuple[str, ...], list[NDArray[np.float32]]]:
    """The standard vectors with all but one piece set to zero, once for each piece.

    With these, the collection of whole vectors ranks by each piece's inner product.
    """
    edges = np.linspace(0, standard.shape[1], num_pieces + 1).astype(int)
    pieces = []
    for start, end in itertools.pairwise(edges.tolist()):
        piece = np.zeros_like(standard)
        piece[:, start:end] = standard[:, start:end]
        pieces.append(piece)
    return tuple(f"piece_{number:02d}" for number in range(num_pieces)), pieces
