"""The chunks that a sync removes, on their way from the index to staging."""

from __future__ import annotations

from contextlib import closing

import pytest

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.errors import StorageFull
from mrag_pipeline.ports import Mark
from mrag_pipeline.stages.sync import spooled_marks
from mrag_pipeline.stages.sync.spooled_marks import SpooledMarks

MARKS = [Mark(2**62 + n, f'd"{n % 3}\udcffä', "print") for n in range(6)]


@pytest.mark.parametrize("bytes_in_memory", [1, 1_000_000])
def test_blocks_are_read_in_order_and_again(
    bytes_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number, whichever came first; rising ids in each. Odd ids survive."""
    monkeypatch.setattr(spooled_marks, "_BYTES_IN_MEMORY", bytes_in_memory)
    with closing(SpooledMarks()) as marks:
        assert list(marks) == []
        marks.add(7, MARKS[:1:-1])
        marks.add(1, MARKS[:2])
        marks.add(3, [])
        for _ in range(2):
            assert list(marks) == [MARKS[:2], MARKS[2:]]


def test_documents_are_left_out() -> None:
    """Those that could not be read a second time; a block of theirs alone is not there."""
    with closing(SpooledMarks()) as marks:
        marks.add(0, MARKS[:1])
        marks.add(1, MARKS[1:])
        marks.leave_out({text_key(MARKS[0].document_id)})
        assert list(marks) == [[MARKS[1], MARKS[2], MARKS[4], MARKS[5]]]


def test_a_full_disk_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is the system's."""
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda *_, **__: full)
        marks = SpooledMarks()
        with pytest.raises(StorageFull, match="TMPDIR"):
            marks.add(0, MARKS)
