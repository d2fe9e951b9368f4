from __future__ import annotations

import pytest

from mrag_pipeline.encoder.calibration_texts import CALIBRATION_TEXTS, CHECK_TEXTS
from mrag_pipeline.encoder.int8_method import NUMBERS, method_hash

HASH = "0ad4ecb832f113c1b62da57096dc6512"


def test_the_method_is_the_one_that_built_indexes() -> None:
    """Another hash refuses every index whose encoder.dtype is int8.

    If it changed by mistake, undo that. If it was meant: write the new hash here, measure recall
    and speed again (benchmarks/encode_int8.py, decision 120), and say in CHANGELOG.md that
    such indexes are to be built anew.
    """
    assert method_hash() == HASH


@pytest.mark.parametrize("name", NUMBERS)
def test_each_number_is_part_of_the_method(name: str) -> None:
    """One more of it is another method."""
    assert method_hash(numbers={**NUMBERS, name: NUMBERS[name] + 1}) != HASH


def test_each_letter_is_part_of_the_method() -> None:
    """So is the order of the texts."""
    assert method_hash([*CALIBRATION_TEXTS[:-1], CALIBRATION_TEXTS[-1] + "."]) != HASH
    assert method_hash(CALIBRATION_TEXTS[::-1]) != HASH


def test_a_third_of_the_texts_is_held_back_for_the_check() -> None:
    """No text is in both parts, or twice in one."""
    texts = CALIBRATION_TEXTS + CHECK_TEXTS
    assert len(set(texts)) == len(texts) == 3 * len(CHECK_TEXTS)
