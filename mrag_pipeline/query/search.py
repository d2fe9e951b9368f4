"""A query's second half: searched, voted on, answered. Needs the index, knows no model.

Bound to one version: nothing of another is read, whatever becomes live meanwhile.
Shape legend: V voters, W windows, c hits per ranking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mrag_pipeline.domain import strategies
from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.voting import Hit, WeightedRankings, candidate_chunks
from mrag_pipeline.domain.windows import Window
from mrag_pipeline.errors import ConfigError, FingerprintMismatch, HeadsMissing, MragError
from mrag_pipeline.ports import ChunkRow, QueryIndex
from mrag_pipeline.query.embed import EmbeddedQuery, Query
from mrag_pipeline.query.filter import search_filtered
from mrag_pipeline.query.joint_search import Ranked, search_joined
from mrag_pipeline.query.timing import Deadline, Stopwatch
from mrag_pipeline.query.vote import chosen_documents
from mrag_pipeline.query.voters import STANDARD as STANDARD
from mrag_pipeline.query.voters import Voters, voters_of
from mrag_pipeline.settings.retrieve import RetrieveSpec


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """An embedded query, and what is wanted of it."""

    asked: Query
    embedded: EmbeddedQuery
    k: int = 10  # documents
    filter: Filter | None = None  # only documents that match
    min_heads: int | None = None  # so many must answer; None: all, and the standard vector too
    seconds: float | None = None  # of the searches; None: as long as the index waits


@dataclass(frozen=True, slots=True, eq=False)
class FoundDocument:
    """A document that answers the query, by its best passage."""

    hit: Hit
    row: ChunkRow  # of hit.chunk_ids[0]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a query found, and why: `found[i].hit.parts` is (V, W), as `voters` and `windows`."""

    strategy: str
    version: str
    windows: tuple[Window, ...]
    voters: tuple[str, ...]  # those that voted
    found: tuple[FoundDocument, ...]
    num_searches: int  # rankings asked for: V x W
    seconds: Mapping[str, float]  # by phase; of all that was asked together
    missing: tuple[str, ...] = ()  # voters that did not answer in time
    num_batched: int = 1  # queries that were embedded together

    def documents(self) -> list[str]:
        """Document ids, best first, each once."""
        return [one.hit.document_id for one in self.found]


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What one question asks the index."""

    question: Question
    chosen: Strategy
    voters: Voters


@dataclass(frozen=True, slots=True, eq=False)
class _Count:
    """The votes of one question, before the chunks' documents are known."""

    plan: _Plan
    voters: tuple[str, ...]
    missing: tuple[str, ...]
    ballots: WeightedRankings
    listed: list[int]


class Searcher:
    """Answers embedded queries from one index version."""

    def __init__(
        self, index: QueryIndex, record: VersionRecord, spec: RetrieveSpec | None = None
    ) -> None:
        self._index = index
        self._record = record
        self._spec = spec or RetrieveSpec()

    @property
    def record(self) -> VersionRecord:
        """The version that is asked."""
        return self._record

    def search(self, questions: Sequence[Question]) -> list[Answer]:
        """The k documents that answer each question best, or as many as were found; in order.

        Raises: what `outcomes` has instead of an answer, the first of them.
        """
        answers = []
        for outcome in self.outcomes(questions):
            if isinstance(outcome, MragError):
                raise outcome
            answers.append(outcome)
        return answers

    def outcomes(self, questions: Sequence[Question]) -> list[Answer | MragError]:
        """Each question's answer, or why there is none; nobody pays for another's error.

        Questions of one filter and about the same `seconds` search together, the same collections
        once, in the time of the one that has least; others after them.
        Their errors: ConfigError for k below 1, no such strategy; FingerprintMismatch for
        another encoder's embeddings; HeadsMissing.
        Raises: IndexBusy, IndexUnavailable, NoLiveVersion if texts cannot be read.
        """
        clock = Stopwatch()
        outcomes: dict[int, Answer | MragError] = {}
        groups: dict[tuple[object, ...], dict[int, _Plan]] = {}
        for at, question in enumerate(questions):
            try:
                plan = self._plan(question)
            except MragError as error:
                outcomes[at] = error
            else:
                # By text: True, 1 and 1.0 are equal in Python, and not what a filter means.
                key = (repr(question.filter), _about(self._seconds(question)))
                groups.setdefault(key, {})[at] = plan
        deadlines = [Deadline(self._least(group.values())) for group in groups.values()]
        counts: dict[int, _Count] = {}
        for group, deadline in zip(groups.values(), deadlines, strict=True):
            try:
                ranked = self._ranked(list(group.values()), deadline)
            except MragError as error:
                outcomes.update(dict.fromkeys(group, error))
                continue
            for (at, plan), rankings in zip(group.items(), ranked, strict=True):
                try:
                    counts[at] = self._count(plan, rankings)
                except MragError as error:
                    outcomes[at] = error
        clock.stop("search")
        listed = dict.fromkeys(one for count in counts.values() for one in count.listed)
        likely = dict.fromkeys(one for count in counts.values() for one in self._likely(count))
        documents, rows = self._index.look_up(
            self._record.chunks_collection(), list(listed), list(likely)
        )
        clock.stop("fetch")
        hits = {at: self._elected(count, documents) for at, count in counts.items()}
        clock.stop("vote")
        self._read(counts, documents, hits, rows)
        clock.stop("fetch")
        for at, count in counts.items():
            outcomes[at] = self._answer(count, hits[at], rows, clock)
        return [outcomes[at] for at in range(len(questions))]

    def _plan(self, question: Question) -> _Plan:
        chosen = strategies.strategy(question.asked.strategy)
        embeddings, card = question.embedded.embeddings, self._record.encoder
        check_k(question.k)
        shape = (len(card.heads), card.head_dim)
        if embeddings.heads.shape[1:] != shape:
            raise FingerprintMismatch(
                f"embeddings of {embeddings.heads.shape[1:]} (heads, dimensions)",
                f"{shape}, as {self._record.version} has them",
                "embed the query with the encoder of the version",
            )
        # Deep enough for k documents of several passages each; that only adds small votes.
        spread = max(self._spec.hits_per_voter, 4 * question.k) / len(embeddings)
        limit = max(self._spec.min_hits_per_ranking, math.ceil(spread))
        return _Plan(question, chosen, voters_of(chosen, self._record, embeddings, limit))

    def _seconds(self, question: Question) -> float | None:
        if question.seconds is None and question.min_heads is not None:
            return self._spec.seconds
        return question.seconds

    def _least(self, plans: Iterable[_Plan]) -> float | None:
        given = [self._seconds(plan.question) for plan in plans]
        return min((one for one in given if one is not None), default=None)

    def _ranked(self, plans: Sequence[_Plan], deadline: Deadline) -> list[Ranked]:
        """The rankings of questions that have filter and time in common."""
        first = plans[0].question
        batches = [plan.voters.requests for plan in plans]
        if first.filter is None:
            return search_joined(self._index, batches, deadline)
        return search_filtered(
            self._index,
            self._record.chunks_collection(),
            self._record.num_chunks,
            first.filter,
            batches,
            deadline,
            self._spec.filtering,
        )

    def _count(self, plan: _Plan, rankings: Ranked) -> _Count:
        names = plan.voters.names
        answered = [at for at, ranking in enumerate(rankings) if ranking is not None]
        missing = tuple(name for at, name in enumerate(names) if at not in answered)
        if missing:
            _check_missing(missing, names, plan.question.min_heads)
        given = [ranking for ranking in rankings if ranking is not None]
        ballots = WeightedRankings(
            np.stack([ranking.ids for ranking in given]),
            np.stack([ranking.scores for ranking in given]),
            plan.voters.weights[answered],
        )
        size = max(self._spec.candidates, 4 * plan.question.k)
        listed = candidate_chunks(ballots, plan.chosen.vote, size)
        return _Count(plan, tuple(names[at] for at in answered), missing, ballots, listed)

    def _likely(self, count: _Count) -> list[int]:
        """Chunks among which the best passages of what will be elected nearly always are."""
        return count.listed[: self._spec.read_early * count.plan.question.k]

    def _read(
        self,
        counts: Mapping[int, _Count],
        documents: Mapping[int, str],
        hits: dict[int, list[Hit]],
        rows: dict[int, ChunkRow],
    ) -> None:
        """All rows of the hits' best passages; a hit whose row may not be shown makes way.

        A sync may have taken the row since it was listed. And on a filter this is the last word:
        whatever an index answered, nobody sees another's document.
        """
        refused: dict[int, set[int]] = {at: set() for at in counts}
        while True:
            best = {at: [hit.chunk_ids[0] for hit in hits[at]] for at in counts}
            new = dict.fromkeys(one for some in best.values() for one in some if one not in rows)
            if new:
                rows |= self._index.chunks(self._record.chunks_collection(), list(new))
            settled = True
            for at, count in counts.items():
                wanted = count.plan.question.filter
                shown = {
                    one
                    for one in best[at]
                    if one in rows and (wanted is None or matches(wanted, rows[one]))
                }
                if len(shown) < len(best[at]):
                    settled = False
                    refused[at] |= set(best[at]) - shown
                    left = {one: of for one, of in documents.items() if one not in refused[at]}
                    hits[at] = self._elected(count, left)
            if settled:
                return

    def _elected(self, count: _Count, documents: Mapping[int, str]) -> list[Hit]:
        """The k best documents; chunks that have none (any more) are left out."""
        known = {one: documents[one] for one in count.listed if one in documents}
        gone = set(count.listed) - known.keys()
        depth = self._spec.fused_documents
        return chosen_documents(
            count.plan.chosen, count.ballots, known, gone, count.plan.question.k, depth
        )

    def _answer(
        self, count: _Count, hits: Sequence[Hit], rows: Mapping[int, ChunkRow], clock: Stopwatch
    ) -> Answer:
        windows = count.plan.question.embedded.windows
        return Answer(
            count.plan.chosen.name,
            self._record.version,
            windows,
            count.voters,
            tuple(FoundDocument(hit, rows[hit.chunk_ids[0]]) for hit in hits),
            len(count.plan.voters.requests) * len(windows),
            {**count.plan.question.embedded.seconds, **clock.seconds},
            count.missing,
            count.plan.question.embedded.num_batched,
        )


def _about(seconds: float | None) -> int | None:
    """The same for times that differ by less than half of the shorter one."""
    return None if seconds is None else math.floor(math.log(max(seconds, 0.001), 1.5))


def check_k(k: int) -> None:
    """Refuses a k that asks for nothing.

    Raises: ConfigError.
    """
    if k < 1:
        raise ConfigError(f"k = {k}", "at least 1 document to fetch")


def _check_missing(missing: Sequence[str], names: Sequence[str], min_heads: int | None) -> None:
    """Whether the others may answer alone.

    Raises: HeadsMissing.
    """
    heads = [name for name in names if name != STANDARD]
    answered = len(heads) - sum(name != STANDARD for name in missing)
    if min_heads is None or not answered or answered < min(min_heads, len(heads)):
        allowed = "all" if min_heads is None or not heads else f"at least {min_heads}"
        raise HeadsMissing(
            f"{answered} of {len(heads)} heads answered in time, missing: {', '.join(missing)}",
            f"{allowed} of them",
            "ask again; or allow fewer with min_heads, and the answer says which are missing",
        )
