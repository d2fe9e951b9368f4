"""The steps on the index, in order: plan, search, filter, vote, read. Needs the index, no model.

Bound to one version: reads nothing of another one, whatever becomes live meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mrag_pipeline.domain.verdicts import levels_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.voting import Hit
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import ChunkRow, QueryIndex
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.filter import search_filtered
from mrag_pipeline.query.filter_warnings import filter_warnings
from mrag_pipeline.query.gated_search import search_gated
from mrag_pipeline.query.joint_search import Batch, Ranked, search_joined
from mrag_pipeline.query.passages import read_passages, with_passages
from mrag_pipeline.query.plan import SearchPlan, group_plans, least_seconds, plan_search
from mrag_pipeline.query.question import Question
from mrag_pipeline.query.read import DocumentLookup, look_up_candidates, read_hits
from mrag_pipeline.query.score import Scores, score, score_requests, scores_of, unscored
from mrag_pipeline.query.timing import Deadline, Stopwatch
from mrag_pipeline.query.vote import Votes, choose_hits, collect_votes
from mrag_pipeline.settings.filtering import FilterSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec

READ_EARLY = 2  # chunks per requested document that are read before the vote is final
FUSED_DOCUMENTS = 5  # of each sub-query that come before any of a deeper rank


class Searcher:
    """Answers embedded queries from one index version."""

    def __init__(
        self,
        index: QueryIndex,
        record: VersionRecord,
        spec: RetrieveSpec | None = None,
        lookup: DocumentLookup | None = None,
        filtering: FilterSpec | None = None,
        is_held: bool = False,
    ) -> None:
        """Ready to search.

        Args:
            lookup: a cache of the candidates' documents; None: the index.
            is_held: the vectors are in this process's memory, so that a second round of searches
                costs no call.
        """
        self._index = index
        self._lookup = lookup or index  # of the candidates' documents
        self._record = record
        self._spec = spec or RetrieveSpec()
        self._filtering = filtering or FilterSpec()
        self._is_held = is_held

    @property
    def record(self) -> VersionRecord:
        """The version that is searched."""
        return self._record

    def search(self, questions: Sequence[Question]) -> list[Answer]:
        """The k documents that answer each question best, or as many as were found; in order.

        Raises: the first error among the `outcomes`.
        """
        answers = []
        for outcome in self.outcomes(questions):
            if isinstance(outcome, MragError):
                raise outcome
            answers.append(outcome)
        return answers

    def outcomes(self, questions: Sequence[Question]) -> list[Answer | MragError]:
        """Each question's answer or its own error; one question's error affects no other.

        Questions with the same filter and about the same `seconds` are searched together, each
        collection once, within the least of their times; the groups one after the other.
        Their errors: ConfigError for k below 1 or an unknown strategy; FingerprintMismatch for
        another encoder's embeddings; HeadsMissing.
        Raises: IndexBusy, IndexUnavailable, NoLiveVersion if texts cannot be read.
        """
        stopwatch = Stopwatch()
        outcomes: dict[int, Answer | MragError] = {}
        plans: dict[int, SearchPlan] = {}
        for number, question in enumerate(questions):
            try:
                plans[number] = plan_search(question, self._record, self._spec)
            except MragError as error:
                outcomes[number] = error
        groups = group_plans(plans)
        # All deadlines start now: a group does not get longer for waiting behind another.
        deadlines = [Deadline(least_seconds(group.values())) for group in groups]
        votes_of, errors = self._search(groups, deadlines)
        outcomes.update(errors)
        stopwatch.stop("search")
        collection = self._record.chunks_collection()
        documents, rows = look_up_candidates(
            self._lookup, collection, list(votes_of.values()), READ_EARLY
        )
        stopwatch.stop("fetch")

        def choose(votes: Votes, documents: Mapping[int, str]) -> list[Hit]:
            return choose_hits(votes, documents, FUSED_DOCUMENTS)

        hits = {number: choose(votes, documents) for number, votes in votes_of.items()}
        stopwatch.stop("vote")
        read_hits(self._index, collection, votes_of, documents, hits, rows, choose)
        passages = read_passages(self._index, collection, votes_of, hits, rows)
        stopwatch.stop("fetch")
        scores = self._scores(groups, deadlines, votes_of, hits)
        stopwatch.stop("score")
        for number, votes in votes_of.items():
            try:
                answer = self._answer(votes, hits[number], rows, scores.get(number), stopwatch)
                outcomes[number] = with_passages(answer, passages.get(number, ()))
            except MragError as error:
                outcomes[number] = error
        return [outcomes[number] for number in range(len(questions))]

    def _search(
        self, groups: Sequence[Mapping[int, SearchPlan]], deadlines: Sequence[Deadline]
    ) -> tuple[dict[int, Votes], dict[int, MragError]]:
        """The votes that each plan's searches gave, and the errors of the others."""
        votes_of: dict[int, Votes] = {}
        errors: dict[int, MragError] = {}
        for group, deadline in zip(groups, deadlines, strict=True):
            try:
                ranked = self._rank(list(group.values()), deadline)
            except MragError as error:
                errors.update(dict.fromkeys(group, error))
                continue
            for (number, plan), rankings in zip(group.items(), ranked, strict=True):
                try:
                    votes_of[number] = collect_votes(plan, rankings, self._spec.depth.candidates)
                except MragError as error:
                    errors[number] = error
        return votes_of, errors

    def _rank(self, plans: Sequence[SearchPlan], deadline: Deadline) -> list[Ranked]:
        """The rankings of plans that have filter and time in common."""

        def search(batches: Sequence[Batch]) -> list[Ranked]:
            if self._is_held:
                return search_gated(self._index, plans, batches, deadline)
            return search_joined(self._index, batches, deadline)

        batches = [plan.voters.requests for plan in plans]
        wanted = plans[0].question.filter
        if wanted is None:
            return search(batches)
        return search_filtered(
            self._index,
            self._record.chunks_collection(),
            self._record.num_chunks,
            wanted,
            batches,
            deadline,
            self._filtering,
            search,
        )

    def _scores(
        self,
        groups: Sequence[Mapping[int, SearchPlan]],
        deadlines: Sequence[Deadline],
        votes_of: Mapping[int, Votes],
        hits: Mapping[int, list[Hit]],
    ) -> dict[int, Scores]:
        """The scores of the passages of each question that wants scores.

        They have no figures where the searches took all the time.
        """
        scores: dict[int, Scores] = {}
        for group, deadline in zip(groups, deadlines, strict=True):
            asked = {
                number: score_requests(votes_of[number], hits[number], self._record)
                for number, plan in group.items()
                if number in votes_of and plan.question.is_scored
            }
            batches = [each.requests for each in asked.values()]
            ranked: list[Ranked] = [[] for _ in batches]
            if any(batches):
                ranked = search_joined(self._index, batches, deadline)
            for (number, each), rankings in zip(asked.items(), ranked, strict=True):
                scores[number] = scores_of(each, rankings)
        return scores

    def _answer(
        self,
        votes: Votes,
        hits: Sequence[Hit],
        rows: Mapping[int, ChunkRow],
        scores: Scores | None,
        stopwatch: Stopwatch,
    ) -> Answer:
        embedded = votes.plan.question.embedded
        levels = levels_in(self._record.config)
        if scores is None:
            found, aspects = unscored(votes, hits, rows)
        else:
            found, aspects = score(votes, hits, rows, scores, levels)
        shown = [rows[hit.chunk_ids[0]] for hit in hits]
        collection = self._record.chunks_collection()
        warnings = filter_warnings(self._index, collection, votes.plan.question, shown)
        return Answer(
            strategy=votes.plan.strategy.name,
            version=self._record.version,
            windows=embedded.windows,
            voters=votes.voters,
            found=tuple(found),
            num_searches=len(votes.plan.voters.requests) * len(embedded.windows),
            seconds={**embedded.seconds, **stopwatch.seconds},
            missing=votes.missing,
            num_batched=embedded.num_batched,
            aspects=tuple(aspects),
            levels=levels,
            warnings=tuple(warnings),
        )
