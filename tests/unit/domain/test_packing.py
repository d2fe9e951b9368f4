from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.packing import packed_batches, padded_batches

lengths_st = st.lists(st.integers(1, 600), max_size=80)


@given(lengths_st, st.integers(1, 2_000), st.integers(0, 20))
def test_every_text_is_in_exactly_one_batch(
    lengths: list[int], budget: int, max_texts: int
) -> None:
    """No text is lost, none is encoded twice."""
    batches = padded_batches(lengths, budget, max_texts)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(lengths_st, st.integers(1, 2_000), st.integers(0, 20))
def test_no_batch_is_over_budget(lengths: list[int], budget: int, max_texts: int) -> None:
    """Padding is counted; only a text that is over budget by itself may be, alone."""
    for batch in padded_batches(lengths, budget, max_texts):
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= budget or len(batch) == 1
        assert not max_texts or len(batch) <= max_texts


def test_alike_lengths_share_a_batch_longest_first() -> None:
    """[2, 9, 3, 8] with room for 20 tokens: 9 and 8 (18 padded), then 3 and 2 (6)."""
    assert padded_batches([2, 9, 3, 8], 20) == [[1, 3], [2, 0]]


@given(lengths_st, st.integers(1, 2_000))
def test_packed_batches_lose_nothing_and_fit(lengths: list[int], budget: int) -> None:
    """Each text once, longest first; lengths add up to the budget at most, or one text is alone."""
    batches = packed_batches(lengths, budget)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[index] for index in order] == sorted(lengths, reverse=True)
    assert all(sum(lengths[i] for i in b) <= budget or len(b) == 1 for b in batches)


@given(lengths_st, st.integers(600, 2_000))
def test_packed_batches_are_full(lengths: list[int], budget: int) -> None:
    """No batch could have taken the next one's first text."""
    batches = packed_batches(lengths, budget)
    for batch, following in itertools.pairwise(batches):
        assert sum(lengths[i] for i in batch) + lengths[following[0]] > budget
