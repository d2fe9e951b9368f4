"""Takes a pool's answers of an audit or a repair apart, and those of rows in the plan's order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.ports import Progress
from mrag_pipeline.stages.distinct_keys import DistinctKeys
from mrag_pipeline.stages.in_order import in_order
from mrag_pipeline.stages.versions.row_items import (
    Answer,
    IdsRead,
    RowsChecked,
    Searched,
    ShardRead,
)
from mrag_pipeline.stages.versions.staged_version import StagedShard

_KEYS_IN_MEMORY = 250_000  # of documents, 2 MB; more wait on disk


@dataclass(slots=True)
class OtherAnswers:
    """Takes what is not of rows out of a pool's answers."""

    sums: dict[str, IdSum] = field(default_factory=dict)  # by collection
    searched: list[Searched] = field(default_factory=list)
    shards: dict[StagedShard, ShardRead] = field(default_factory=dict)

    def kept_of(self, answers: Iterable[Answer], progress: Progress) -> Iterator[RowsChecked]:
        """Those of rows, as they come; the others are kept here, and counted as done."""
        for answer in answers:
            if isinstance(answer, RowsChecked):
                yield answer
                continue
            progress.advance(1)
            if isinstance(answer, IdsRead):
                self.sums[answer.collection] = answer.ids
            elif isinstance(answer, Searched):
                self.searched.append(answer)
            else:
                self.shards[answer.shard] = answer


def document_keys() -> DistinctKeys:
    """Counts documents by their keys; close it."""
    return DistinctKeys(_KEYS_IN_MEMORY)


def rows_in_order(
    answers: Iterable[RowsChecked], first_number: int, documents: DistinctKeys, progress: Progress
) -> Iterator[RowsChecked]:
    """The answers in the order of their items, without the keys of their documents.

    What waits for an item that is late is small: keys are counted, and progress is shown, when an
    answer comes.

    Args:
        first_number: of the items of rows; the others follow it without a gap.
    """

    def counted() -> Iterator[RowsChecked]:
        for answer in answers:
            documents.add(answer.documents)
            progress.advance(1, {"chunks": answer.num_chunks})
            yield replace(answer, documents=np.zeros(0, np.uint64))

    return in_order(counted(), lambda answer: answer.index - first_number)
