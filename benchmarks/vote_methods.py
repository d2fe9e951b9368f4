"""Ways to search heads and the standard vector, for `vote_ideas.py`.

Each takes the requests of one question (its heads', then the standard vector's) and returns their
rankings; the product's own vote follows. Vectors are in memory, as a service holds a small version.
`Method` and `Gated` are the product's own code, before and since decision 128.

Shape legend: N chunks, H heads, D head dimension, E standard width, W windows, c hits per ranking,
n candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from vote_sets import Corpus, Floats32

from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    Ranking,
    SearchRequest,
    TextSearchRequest,
)
from mrag_pipeline.query.gated_search import search_gated
from mrag_pipeline.query.held_rows import HeldRows
from mrag_pipeline.query.held_vectors import HeldIndex
from mrag_pipeline.query.joint_search import Ranked, search_joined
from mrag_pipeline.query.plan import SearchPlan, plan_search
from mrag_pipeline.query.question import Question
from mrag_pipeline.query.timing import Deadline
from mrag_pipeline.settings.retrieve import RetrieveSpec

_DECIMALS = 6  # of a score, as the product rounds it


class Method:
    """The default's way where an index searches: every voter, every window."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.num_heads = corpus.heads.shape[1]
        self.index = HeldIndex(corpus.texts, corpus.held)

    def search(self, requests: Sequence[SearchRequest], question: Question) -> list[Ranking]:  # noqa: ARG002
        """The rankings, in the order of the requests: the heads', then the standard vector's."""
        return _all_of(search_joined(self.index, [requests], Deadline(None)))

    def candidates(self, rankings: Sequence[Ranking]) -> NDArray[np.intp]:
        """(n,) rows of all that these rankings found, rising."""
        found = np.unique(np.concatenate([ranking.ids.ravel() for ranking in rankings]))
        return np.searchsorted(self.corpus.ids, found[found >= 0])

    def vote_on(
        self, requests: Sequence[SearchRequest], heads: Sequence[int], rows: NDArray[np.intp]
    ) -> list[Ranking]:
        """The rankings of these heads among these rows alone."""
        if not len(heads):
            return []
        queries = np.stack([_unit(requests[head].vectors) for head in heads])  # (h, W, D)
        if len(heads) == self.num_heads:
            vectors = self.corpus.heads[rows]  # (n, h, D)
        else:
            vectors = self.corpus.heads[rows[:, None], np.array(heads)]
        scores = queries @ vectors.transpose(1, 2, 0)  # (h, W, n)
        return [
            ranked(self.corpus.ids[rows], of_head, requests[head].limit)
            for head, of_head in zip(heads, scores, strict=True)
        ]


class Gated(Method):
    """The default's way in memory: heads are searched for windows that the gate lets count."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus)
        self._record = replace(corpus.record, lexical=None)  # words are not searched here
        self._plans: dict[int, SearchPlan] = {}  # by the question's id()

    def search(self, requests: Sequence[SearchRequest], question: Question) -> list[Ranking]:
        """As `Method`; windows that do not count have no hits of heads."""
        if id(question) not in self._plans:
            self._plans[id(question)] = plan_search(question, self._record, RetrieveSpec())
        plans = [self._plans[id(question)]]
        return _all_of(search_gated(self.index, plans, [requests], Deadline(None)))


class Proposers(Method):
    """The most important heads and the standard vector propose; the others vote on that."""

    def __init__(self, corpus: Corpus, count: int) -> None:
        super().__init__(corpus)
        order = np.argsort(-corpus.record.importance()).tolist()
        self._first, self._others = order[:count], sorted(order[count:])

    def search(self, requests: Sequence[SearchRequest], question: Question) -> list[Ranking]:  # noqa: ARG002
        """As `Method`."""
        standard = self.corpus.held.search(requests[-1])
        rankings = {head: self.corpus.held.search(requests[head]) for head in self._first}
        rows = self.candidates([*rankings.values(), standard])
        voted = self.vote_on(requests, self._others, rows)
        rankings |= dict(zip(self._others, voted, strict=True))
        return [*(rankings[head] for head in range(self.num_heads)), standard]


class Joint(Method):
    """One search over all heads' vectors put together proposes; every head votes on that."""

    def __init__(self, corpus: Corpus, count: int, width: int = 0) -> None:
        """Ready.

        Args:
            count: candidates of each window.
            width: numbers of a random projection of the joint vectors; 0: these themselves.
        """
        super().__init__(corpus)
        shares = corpus.record.importance() / corpus.record.importance().sum()
        self._scale = np.sqrt(shares).astype(np.float32)[:, None]  # of both sides: s_h cos_h
        self._count = count
        self._projection: Floats32 | None = None
        if width:
            draw = np.random.default_rng(7).standard_normal((corpus.heads[0].size, width))
            self._projection = (draw / np.sqrt(width)).astype(np.float32)
        vectors = self._joint(corpus.heads)
        self._rows = HeldRows.empty(corpus.ids, vectors.shape[1])
        self._rows.put(corpus.ids, vectors)

    def search(self, requests: Sequence[SearchRequest], question: Question) -> list[Ranking]:  # noqa: ARG002
        """As `Method`."""
        *heads, standard = requests
        queries = np.stack([_unit(request.vectors) for request in heads], axis=1)
        proposed = self._rows.search(self._joint(queries), self._count)
        voted = self.vote_on(requests, range(self.num_heads), self.candidates([proposed]))
        return [*voted, self.corpus.held.search(standard)]

    def _joint(self, heads: Floats32) -> Floats32:
        vectors = (heads * self._scale).reshape(len(heads), -1)
        return vectors if self._projection is None else np.asarray(vectors @ self._projection)


# ------------------------------------------------------------------ the standard vector alone
class Standard(Method):
    """The heads as ever; the standard vector in another way."""

    def search(self, requests: Sequence[SearchRequest], question: Question) -> list[Ranking]:  # noqa: ARG002
        """As `Method`."""
        rankings = [self.corpus.held.search(request) for request in requests[:-1]]
        return [*rankings, self.standard(requests[-1], rankings)]

    def standard(self, request: SearchRequest, heads: Sequence[Ranking]) -> Ranking:  # noqa: ARG002
        """Its ranking."""
        return self.corpus.held.search(request)

    def scored(self, request: SearchRequest, rows: NDArray[np.intp]) -> Ranking:
        """The ranking among these rows, by exact scores."""
        scores = _unit(request.vectors) @ self.corpus.standard[rows].T
        return ranked(self.corpus.ids[rows], scores, request.limit)


class StandardOfHeads(Standard):
    """Only what a head found."""

    def standard(self, request: SearchRequest, heads: Sequence[Ranking]) -> Ranking:
        """As `Standard`."""
        return self.scored(request, self.candidates(heads))


class StandardRough(Standard):
    """A rough scan proposes `times` as many hits as are wanted; exact scores order these."""

    def __init__(self, corpus: Corpus, kind: str, times: int = 2) -> None:
        """Ready; kind: bfloat16, int8, or a number of principal components."""
        super().__init__(corpus)
        self._kind, self._times = kind, times
        whole = torch.from_numpy(np.ascontiguousarray(corpus.standard))
        if kind == "bfloat16":
            self._rows = whole.to(torch.bfloat16)
        elif kind == "int8":
            self._rows = _int8(whole)
        else:
            parts = np.linalg.eigh(corpus.standard.T @ corpus.standard)[1][:, ::-1]
            self._parts = np.ascontiguousarray(parts[:, : int(kind)])
            self._few = HeldRows.empty(corpus.ids, int(kind))
            self._few.put(corpus.ids, corpus.standard @ self._parts)

    def standard(self, request: SearchRequest, heads: Sequence[Ranking]) -> Ranking:  # noqa: ARG002
        """As `Standard`."""
        count = min(self._times * request.limit, len(self.corpus.ids))
        unit = _unit(request.vectors)
        if self._kind not in ("bfloat16", "int8"):
            return self.scored(
                request, self.candidates([self._few.search(unit @ self._parts, count)])
            )
        queries = torch.from_numpy(unit)
        if self._kind == "int8":
            rough = torch._int_mm(self._rows, _int8(queries).T)  # (N, W)
        else:
            rough = self._rows @ queries.to(torch.bfloat16).T
        rows = np.unique(torch.topk(rough.float(), count, dim=0, sorted=False).indices.numpy())
        return self.scored(request, rows)


def _int8(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors of unit length in 8 bits, one scale for all: what is above 1/3 is cut off."""
    return (vectors * (3 * 127)).round().clamp(-127, 127).to(torch.int8).contiguous()


# ------------------------------------------------------------------ shared
def ranked(ids: NDArray[np.int64], scores: Floats32, limit: int) -> Ranking:
    """The (W, c) best of (W, n) scores; ids (n,) rise, and the smaller wins a tie."""
    ranking = Ranking.nothing(len(scores), limit)
    if scores.shape[1] > limit:
        best = np.sort(np.argpartition(-scores, limit, axis=1)[:, :limit], axis=1)
    else:
        best = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    rounded = np.take_along_axis(scores, best, axis=1).round(_DECIMALS)
    order = np.argsort(-rounded, axis=1, kind="stable")
    ranking.ids[:, : best.shape[1]] = ids[np.take_along_axis(best, order, axis=1)]
    ranking.scores[:, : best.shape[1]] = np.take_along_axis(rounded, order, axis=1)
    return ranking


def _all_of(ranked: Sequence[Ranked]) -> list[Ranking]:
    """One question's rankings: from memory each is answered."""
    [rankings] = ranked
    return [ranking for ranking in rankings if ranking is not None]


def _unit(vectors: Floats32) -> Floats32:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)


class MethodIndex(ExactIndex):
    """A corpus whose vectors are searched by a method; texts and words are its own."""

    question: Question  # that is asked now

    def __init__(self, method: Method, words: dict[object, Ranking]) -> None:
        """Ready; `words` keeps what words found, which no method changes."""
        super().__init__("ideas")
        self._method, self._words = method, words

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests."""
        vectors = [request for request in requests if isinstance(request, SearchRequest)]
        found = iter(self._method.search(vectors, self.question) if vectors else [])
        return [
            next(found) if isinstance(request, SearchRequest) else self._of_words(request)
            for request in requests
        ]

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The documents of the chunks, and the likely rows."""
        documents = self._method.corpus.documents
        return {key: documents[key] for key in ids}, self.chunks(collection, likely)

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows."""
        return self._method.corpus.texts.chunks(collection, ids)

    def _of_words(self, request: TextSearchRequest) -> Ranking:
        key = (request.collection, request.texts, request.limit)
        if key not in self._words:
            [self._words[key]] = self._method.corpus.texts.search([request])
        return self._words[key]


MethodOf = Callable[[Corpus], Method]


def _proposers(count: int) -> MethodOf:
    return lambda corpus: Proposers(corpus, count)


def _joint(count: int, width: int = 0) -> MethodOf:
    return lambda corpus: Joint(corpus, count, width)


def _rough(kind: str, times: int = 2) -> MethodOf:
    return lambda corpus: StandardRough(corpus, kind, times)


GATED = "heads only for the windows that count"
METHODS: dict[str, MethodOf] = {
    GATED: Gated,
    **{
        f"standard and {count} of the heads propose": _proposers(count) for count in (0, 1, 2, 4, 6)
    },
    **{f"joint vectors, {count} candidates": _joint(count) for count in (50, 100, 200, 400)},
    "joint vectors projected to 384, 200 candidates": _joint(200, 384),
    "joint vectors projected to 128, 200 candidates": _joint(200, 128),
    "standard: only what heads found": StandardOfHeads,
    "standard: bfloat16": _rough("bfloat16"),
    "standard: int8": _rough("int8"),
    "standard: 96 principal components": _rough("96", 4),
}
