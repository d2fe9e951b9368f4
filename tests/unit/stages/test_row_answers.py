"""Answers of rows: in the order of their items, and small while they wait."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.stages.versions.row_answers import OtherAnswers, document_keys, rows_in_order
from mrag_pipeline.stages.versions.row_checks import CheckedRows
from mrag_pipeline.stages.versions.row_items import (
    Answer,
    IdsRead,
    RowsChecked,
    Searched,
    ShardRead,
)
from mrag_pipeline.stages.versions.staged_version import StagedShard
from tests.support.builds import RecordingProgress


def an_answer(number: int) -> RowsChecked:
    """Of ten chunks of two documents, one of which the next answer has too."""
    keys = np.array([number, number + 1], np.uint64)
    return RowsChecked(number, 10, CheckedRows([ImportanceSums.zero(1, 4)]), keys)


def test_answers_are_counted_as_they_come_and_given_in_order() -> None:
    """Progress does not wait for a late item, and what waits holds no keys of documents."""
    progress = RecordingProgress()
    progress.phase("audit", 4, "items")
    shown = []

    with closing(document_keys()) as documents:
        answers = map(an_answer, (6, 7, 5, 8))
        for answer in rows_in_order(answers, 5, documents, progress):
            shown.append((answer.index, progress.done["audit"], len(answer.documents)))
        assert documents.count() == 5
    assert shown == [(5, 3, 0), (6, 3, 0), (7, 3, 0), (8, 4, 0)]
    assert progress.facts == {"chunks": 40}


def test_answers_of_other_items_are_kept() -> None:
    """By collection, by shard, and in the order they came; each is an item that is done."""
    shard = StagedShard(sync=0, number=3)
    others, progress = OtherAnswers(), RecordingProgress()
    progress.phase("audit", 5, "items")
    read, searched = ShardRead(shard, is_here=True), Searched("head", [4], None)
    answers: list[Answer] = [IdsRead("head", IdSum(7)), an_answer(0), read, searched, an_answer(1)]
    assert [answer.index for answer in others.kept_of(answers, progress)] == [0, 1]
    assert progress.done == {"audit": 3}
    assert others == OtherAnswers({"head": IdSum(7)}, [searched], {shard: read})
