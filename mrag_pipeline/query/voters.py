"""Who votes under a strategy: what each searches for, and what its vote counts.

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

STANDARD = "standard"  # the voter that is no head


@dataclass(frozen=True, slots=True, eq=False)
class Voters:
    """V voters, what each asks the index for all W windows, and its weight."""

    names: tuple[str, ...]
    requests: tuple[SearchRequest, ...]
    weights: NDArray[np.float64]  # (V,)


def voters_of(
    chosen: Strategy, record: VersionRecord, embeddings: Embeddings, limit: int
) -> Voters:
    """The strategy's voters in a version."""
    texts = record.chunks_collection()
    num_heads = len(record.encoder.heads)
    if chosen.voters == "standard":
        request = SearchRequest(texts, embeddings.standard, limit)
        return Voters((STANDARD,), (request,), np.ones(1))
    if chosen.voters == "pieces":
        names, pieces = _pieces(embeddings.standard, num_heads)
        requests = [SearchRequest(texts, piece, limit) for piece in pieces]
        return Voters(names, tuple(requests), np.ones(len(pieces)))
    names = tuple(str(head) for head in record.encoder.heads)
    requests = [
        SearchRequest(name, np.ascontiguousarray(embeddings.heads[:, at]), limit)
        for at, name in enumerate(record.head_collections())
    ]
    importance = record.importance() if chosen.weighted else np.ones(num_heads)
    weights = weights_of(importance, chosen.vote.standard_weight)
    if len(weights) > num_heads:
        names = (*names, STANDARD)
        requests.append(SearchRequest(texts, embeddings.standard, limit))
    return Voters(names, tuple(requests), weights)


def _pieces(
    standard: NDArray[np.float32], num_pieces: int
) -> tuple[tuple[str, ...], list[NDArray[np.float32]]]:
    """The standard vectors with all but one piece set to zero, once for each piece.

    So the one collection of whole vectors ranks by each piece's inner product.
    """
    edges = np.linspace(0, standard.shape[1], num_pieces + 1).astype(int)
    pieces = []
    for start, end in itertools.pairwise(edges.tolist()):
        piece = np.zeros_like(standard)
        piece[:, start:end] = standard[:, start:end]
        pieces.append(piece)
    return tuple(f"piece_{at:02d}" for at in range(num_pieces)), pieces
