"""The vote against numbers computed by hand, and against the paper's rule written plainly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.domain.strategies import DEFAULT, STRATEGIES, strategy
from mrag_pipeline.domain.vote_spec import PAPER, Gate, VoteSpec
from mrag_pipeline.domain.voting import (
    Hit,
    WeightedRankings,
    candidate_chunks,
    choose_documents,
    fuse,
    window_weights,
)
from mrag_pipeline.errors import ConfigError

PLAIN = VoteSpec(power=1.0, coverage=0.0)


def ballots(
    rankings: Sequence[Sequence[Sequence[int]]], weights: Sequence[float] | None = None
) -> WeightedRankings:
    """Rankings by voter, then by window."""
    ids = np.array(rankings, np.int64)
    counts = np.ones(len(ids)) if weights is None else np.array(weights, np.float64)
    return WeightedRankings(ids, np.zeros(ids.shape, np.float32), counts)


def own(cast: WeightedRankings) -> dict[int, str]:
    """Every chunk a document of its own."""
    return {chunk: f"d{chunk}" for chunk in np.unique(cast.ids).tolist() if chunk >= 0}


def tally(hits: Sequence[Hit]) -> list[tuple[str, float]]:
    return [(hit.document_id, round(hit.vote, 6)) for hit in hits]


def run(
    cast: WeightedRankings,
    spec: VoteSpec = PLAIN,
    k: int = 9,
    documents: Mapping[int, str] | None = None,
) -> list[tuple[str, float]]:
    return tally(choose_documents(cast, documents or own(cast), spec, k))


def papers_rule(
    heads: Sequence[Sequence[int]], importance: Sequence[float]
) -> list[tuple[int, float]]:
    """Section 3.3: head i votes s_i * 2^-p for the text chunk at position p of its list."""
    votes: dict[int, float] = {}
    for chunks, scale in zip(heads, importance, strict=True):
        for position, chunk in enumerate(chunks):
            votes[chunk] = votes.get(chunk, 0.0) + scale * 2.0**-position
    return sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))


def test_a_heavier_head_outvotes_a_lighter_one() -> None:
    """Importance scales every vote of its head: 1/2 + 2 against 1 + 2/2."""
    assert run(ballots([[[1, 2]], [[2, 1]]], [1.0, 2.0])) == [("d2", 2.5), ("d1", 2.0)]


def test_ties_go_to_the_smaller_chunk() -> None:
    """Whatever order the heads rank them in."""
    assert [name for name, _ in run(ballots([[[7, 3]], [[3, 7]]]))] == ["d3", "d7"]


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 12))
@settings(max_examples=100)
def test_one_window_of_one_passage_documents_is_the_papers_rule(
    seed: int, heads: int, depth: int
) -> None:
    """Any p and any coverage: with one window neither has an effect."""
    random = np.random.default_rng(seed)
    lists = [random.permutation(15)[:depth].tolist() for _ in range(heads)]
    importance = random.uniform(0.1, 2.0, heads).tolist()
    cast = ballots([[ranking] for ranking in lists], importance)
    expected = papers_rule(lists, importance)
    for spec in (PAPER, replace(VoteSpec(), standard_weight=0.0)):
        hits = choose_documents(cast, own(cast), spec, 99)
        assert [hit.chunk_ids[0] for hit in hits] == [chunk for chunk, _ in expected]
        np.testing.assert_allclose([hit.vote for hit in hits], [vote for _, vote in expected])


def test_passages_of_one_document_share_its_best_rank() -> None:
    """1 and 2 are a's: b ranks second, not third."""
    documents = {1: "a", 2: "a", 3: "b"}
    assert run(ballots([[[1, 2, 3]]]), documents=documents) == [("a", 1.0), ("b", 0.5)]


def test_a_hit_names_its_passages_best_first() -> None:
    """Chunk 2 got two firsts, chunk 1 one; chunk 4 never was a's best and is left out."""
    documents = {1: "a", 2: "a", 4: "a"}
    [hit] = choose_documents(ballots([[[2, 4]], [[2, 1]], [[1, 2]]]), documents, PLAIN, 1)
    assert hit.chunk_ids == (2, 1)


def test_power_prefers_one_sure_window_to_many_faint_ones() -> None:
    """Window votes (1, 0, 0) and (1/2, 1/2, 1/2): 1 < 1.5 as a sum, 1 > 0.866 as p = 2."""
    cast = ballots([[[1, 2], [3, 2], [4, 2]]])
    assert run(cast, k=1) == [("d2", 1.5)]
    assert run(cast, replace(PLAIN, power=2.0), k=1) == [("d1", 1.0)]


def test_coverage_prefers_windows_not_yet_answered() -> None:
    """Two heads agree on 1 then 2 in one window; a weaker window wants 3."""
    cast = ballots([[[1, 2], [3, 4]], [[1, 2], [5, 6]]], [1.0, 0.8])
    assert [name for name, _ in run(cast, k=3)][:2] == ["d1", "d3"]
    crowded = ballots([[[1, 2], [3, 4]]], [1.0])
    spec = replace(PLAIN, coverage=0.8)
    assert [hit.document_id for hit in choose_documents(crowded, own(crowded), spec, 4)] == [
        "d1",
        "d3",
        "d2",
        "d4",
    ]
    # The first window's second is worth 1/2; after d1 was taken, 1/2 * (1 - 0.8).
    hits = choose_documents(crowded, own(crowded), spec, 3)
    assert [round(hit.added, 6) for hit in hits] == [1.0, 1.0, 0.1]


def test_added_votes_never_rise() -> None:
    """Each document chosen adds at most as many votes as the one before."""
    random = np.random.default_rng(3)
    cast = ballots([[random.permutation(30)[:8].tolist() for _ in range(6)] for _ in range(4)])
    added = [hit.added for hit in choose_documents(cast, own(cast), VoteSpec(), 20)]
    assert added == sorted(added, reverse=True)


def test_a_smaller_k_is_the_start_of_a_larger() -> None:
    """The order does not depend on k."""
    random = np.random.default_rng(4)
    cast = ballots([[random.permutation(40)[:8].tolist() for _ in range(6)] for _ in range(4)])
    assert run(cast, VoteSpec(), 5) == run(cast, VoteSpec(), 20)[:5]


def test_the_parts_say_which_window_and_voter_gave_what() -> None:
    """With p = 1 the parts add up to the vote."""
    cast = ballots([[[1, 2], [2, 1]], [[2, 1], [2, 1]]], [1.0, 3.0])
    first = choose_documents(cast, own(cast), PLAIN, 1)[0]
    assert first.parts.tolist() == [[0.5, 1.0], [3.0, 3.0]]
    assert first.vote == first.parts.sum()


def test_a_chunk_that_is_gone_gives_up_its_rank() -> None:
    """A deleted row's votes are dropped and the ranks close up."""
    cast = ballots([[[9, 1, 2]]])
    assert tally(choose_documents(cast, {1: "a", 2: "b"}, PLAIN, 9, gone={9})) == [
        ("a", 1.0),
        ("b", 0.5),
    ]


def test_a_chunk_not_looked_up_keeps_its_rank() -> None:
    """Its document is unknown, so it cannot be chosen."""
    cast = ballots([[[9, 1, 2]]])
    assert tally(choose_documents(cast, {1: "a", 2: "b"}, PLAIN, 9)) == [("a", 0.5), ("b", 0.25)]


def test_padding_votes_for_nobody() -> None:
    """Neither in a short ranking nor in an empty one."""
    assert run(ballots([[[1, -1], [-1, -1]]])) == [("d1", 1.0)]
    nothing = ballots([[[-1, -1]]])
    assert choose_documents(nothing, {}, PLAIN, 5) == []
    assert candidate_chunks(nothing, PLAIN, 5) == []


def test_by_distance_a_near_chunk_counts_more_than_a_first_one() -> None:
    """One over the distance: 1/0.5 twice against 1/0.25 once; a distance of 0 stays finite."""
    ids = np.array([[[1, 2]], [[3, 2]]])
    scores = np.array([[[0.75, 0.5]], [[0.5, 0.5]]], np.float32)
    spec = replace(PAPER, rule="distance")
    hits = choose_documents(
        WeightedRankings(ids, scores, np.ones(2)), {1: "a", 2: "b", 3: "c"}, spec, 3
    )
    assert tally(hits) == [("a", 4.0), ("b", 4.0), ("c", 2.0)]
    same = WeightedRankings(ids, np.ones_like(scores), np.ones(2))
    assert np.isfinite(
        [hit.vote for hit in choose_documents(same, {1: "a", 2: "b"}, spec, 3)]
    ).all()


def test_candidate_chunks_are_taken_by_vote() -> None:
    """Chunk 2 has 1 + 1/2, 1 has 1, 3 has 1/2."""
    cast = ballots([[[1, 2]], [[2, 3]]])
    assert candidate_chunks(cast, PLAIN, 2) == [2, 1]
    assert candidate_chunks(cast, PLAIN, 9) == [2, 1, 3]


def test_fusion_adds_reciprocal_ranks() -> None:
    """B is second and first: 1/61 + 1/60; ties keep their order."""
    fused = fuse([["a", "b"], ["b", "c"]], 5)
    assert [name for name, _ in fused] == ["b", "a", "c"]
    assert fused[0][1] == pytest.approx(1 / 61 + 1 / 60)


def test_fusion_takes_no_deep_document_before_a_first() -> None:
    """X is third in both lists: with two at a time, all firsts and seconds come before it."""
    fused = fuse([["a", "b", "x"], ["c", "d", "x"]], 2)
    assert [name for name, _ in fused] == ["a", "c", "b", "d", "x"]


def test_every_strategy_has_a_name_and_a_wrong_name_gets_a_suggestion() -> None:
    """The names are what the CLI and the API take."""
    assert DEFAULT in STRATEGIES
    assert all(strategy(name).name == name for name in STRATEGIES)
    with pytest.raises(ConfigError, match="did you mean `aspect`"):
        strategy("aspects")


# ------------------------------------------------------------------ the gate of windows
GATE = Gate(clauses=(0.8, 1.0), parts=(1.0, 1.2), long=(0.6, 0.8), long_words=20)
GATED = VoteSpec(gate=GATE)
SHORT, LONG = 10, 21  # words
# The whole question by score, the pieces by rank.
WHOLE_BY_SCORE = VoteSpec(power=2.0, coverage=0.8, whole_by_score=True)


def weights_of(best: list[float], num_clauses: int, num_words: int, spec: VoteSpec) -> list[float]:
    """The weights of windows whose first pieces are clauses."""
    are_clauses = np.arange(len(best)) <= num_clauses
    are_clauses[0] = False
    return window_weights(np.array(best), are_clauses, num_words, spec).tolist()


@pytest.mark.parametrize(
    ("best", "num_clauses", "expected"),
    [
        ([0.5], 0, [1.0]),  # the whole question alone
        ([0.5, 0.35, 0.4], 2, [1.0, 0.0, 0.0]),  # clauses at 0.75 on the mean: one subject
        ([0.5, 0.6, 0.6], 2, [1.0, 1.0, 1.0]),  # nearer than the whole: subjects of their own
        ([0.5, 0.5, 0.4], 2, [1.0, 0.5**0.5, 0.5**0.5]),  # between; the power over windows is 2
        ([0.5, 0.5, 0.4], 0, [1.0, 0.0, 0.0]),  # without clauses more is demanded
        ([0.5, 0.6, 0.6, 0.1], 2, [1.0, 1.0, 1.0, 1.0]),  # other parts are not asked
        ([0.5, 0.5, 0.4], 1, [1.0, 0.0, 0.0]),  # one clause is no cut
        ([-0.1, 0.5], 0, [1.0, 1.0]),  # the whole question is near nothing
    ],
)
def test_pieces_of_a_question_count_if_they_are_nearer_to_something(
    best: list[float], num_clauses: int, expected: list[float]
) -> None:
    """The mean of their best cosines over the whole question's own."""
    assert weights_of(best, num_clauses, SHORT, GATED) == pytest.approx(expected)


def test_pieces_of_a_long_question_count_sooner_and_each_by_its_own_nearness() -> None:
    """By the square root of its ratio."""
    assert weights_of([0.5, 0.5, 0.32], 0, LONG, GATED) == pytest.approx([1.0, 1.0, 0.8])
    assert weights_of([0.5, 0.3, 0.2], 0, LONG, GATED) == [1.0, 0.0, 0.0]


def test_caution_moves_the_gate() -> None:
    """At 1 no piece counts, at -1 each does."""
    for caution, weight in ((1.0, 0.0), (-1.0, 1.0)):
        gated = VoteSpec(gate=replace(GATE, caution=caution))
        assert weights_of([0.5, 0.45, 0.45], 2, SHORT, gated) == [1.0, weight, weight]


def test_without_a_gate_every_window_counts() -> None:
    """As in the paper's rule and in `aspect`."""
    assert weights_of([0.9, 0.1], 0, SHORT, VoteSpec()) == [1.0, 1.0]


def test_windows_that_do_not_count_change_nothing() -> None:
    """The whole question alone decides, by each voter's shares of its best score."""
    ids = np.array([[[1, 2, 3], [9, 8, 7]], [[2, 1, 3], [9, 8, 7]]])  # (V, W, c)
    scores = np.array([[[0.8, 0.6, 0.2]] * 2, [[10.0, 5.0, 1.0]] * 2], np.float32)
    rankings = WeightedRankings(ids, scores, np.ones(2), np.array([1.0, 0.0]))
    documents = {chunk: f"d{chunk}" for chunk in (1, 2, 3, 7, 8, 9)}
    hits = choose_documents(rankings, documents, WHOLE_BY_SCORE, 6)
    votes = {hit.document_id: hit.vote for hit in hits}
    assert list(votes) == ["d2", "d1", "d3"]
    assert votes == pytest.approx({"d2": 0.6 / 0.8 + 1, "d1": 1 + 0.5, "d3": 0.25 + 0.1})


def test_scores_and_ranks_can_be_multiplied() -> None:
    """A second hit that is nearly as near as the first is worth nearly as much."""
    ids = np.array([[[1, 2, -1]]])
    scores = np.array([[[0.8, 0.4, -np.inf]]], np.float32)
    spec = VoteSpec("reciprocal", constant=5.0, power=1.0, coverage=0.0, score_power=2.0)
    rankings = WeightedRankings(ids, scores, np.ones(1))
    first, second = choose_documents(rankings, {1: "d1", 2: "d2"}, spec, 3)
    assert (first.vote, second.vote) == pytest.approx((1.0, 5 / 6 * 0.5**2))


def test_windows_of_the_caller_vote_alike() -> None:
    """Without window weights no window is the whole question: the first has no rule of its own."""
    ids = np.array([[[1, 2], [3, 4]]])
    spec = VoteSpec("reciprocal", constant=5.0, power=1.0, coverage=0.0, whole_by_score=True)
    rankings = WeightedRankings(ids, np.zeros(ids.shape, np.float32), np.ones(1))
    documents = {chunk: f"d{chunk}" for chunk in range(1, 5)}
    votes = {h.document_id: h.vote for h in choose_documents(rankings, documents, spec, 4)}
    assert votes["d2"] == votes["d4"] == pytest.approx(5 / 6)


def test_windows_that_count_bring_their_subjects() -> None:
    """Diversity: what each window is about comes before the whole question's second."""
    ids = np.array([[[1, 2, 3], [9, 8, 7], [5, 6, 4]]])
    scores = np.array([[[0.8, 0.6, 0.2]] * 3], np.float32)
    rankings = WeightedRankings(ids, scores, np.ones(1), np.ones(3))
    documents = {chunk: f"d{chunk}" for chunk in range(1, 10)}
    hits = choose_documents(rankings, documents, WHOLE_BY_SCORE, 3)
    assert {hit.document_id for hit in hits} == {"d1", "d9", "d5"}


def test_reciprocal_ranks_are_fused_as_the_field_does() -> None:
    """Two voters, constant 60: a document second in both beats one that is first in one."""
    ids = np.array([[[1, 2, 3]], [[4, 2, 5]]])
    spec = VoteSpec("reciprocal", constant=60.0, power=1.0, coverage=0.0)
    rankings = WeightedRankings(ids, np.zeros(ids.shape, np.float32), np.ones(2))
    documents = {chunk: f"d{chunk}" for chunk in range(1, 6)}
    [first, *_] = choose_documents(rankings, documents, spec, 5)
    assert first.document_id == "d2"
    assert first.vote == pytest.approx(2 * 60 / 61)
