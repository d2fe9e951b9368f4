"""The record says when a repair changes rows, so that nobody goes on with rows in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living, a_document, audited, repaired


@pytest.fixture
def living(tmp_path: Path) -> Living:
    """Five documents, live."""
    made = Living(tmp_path, [a_document(number) for number in range(5)])
    made.ingest()
    return made


def lose_a_row(living: Living) -> None:
    head = live_record(living.index).head_collections()[0]
    [ids] = living.index.ids(head)
    living.index.delete(head, ids[:1].tolist())


def written(living: Living) -> list[int]:
    """How many repairs each record counts that is written from now on."""
    counts: list[int] = []
    write = living.index.write_record

    def noted(record: VersionRecord) -> None:
        counts.append(record.repairs)
        write(record)

    living.index.write_record = noted  # type: ignore[method-assign]
    return counts


def test_an_audit_and_a_repair_of_a_whole_version_write_nothing(living: Living) -> None:
    """Nobody has to read anything again."""
    counts = written(living)
    assert not audited(living).findings
    repaired(living)
    assert counts == []


def test_a_repair_is_counted_before_its_first_change_and_at_its_end(living: Living) -> None:
    """Twice for each repair, whatever the number of its changes."""
    counts = written(living)
    for expected in ([1, 2], [1, 2, 3, 4]):
        lose_a_row(living)
        assert repaired(living).restored == 1
        assert counts == expected
    assert live_record(living.index).repairs == 4


def test_a_repair_that_was_cut_short_is_ended_by_the_next(living: Living) -> None:
    """Though it finds nothing to do but what the audit names: it was cut short at its end."""
    lose_a_row(living)
    write = living.index.write_record

    def fail_at_the_end(record: VersionRecord) -> Any:
        if record.repairs == 2:
            raise KeyboardInterrupt
        write(record)

    living.index.write_record = fail_at_the_end  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        repaired(living)
    assert live_record(living.index).is_changing()
    living.index.write_record = write  # type: ignore[method-assign]
    assert [one.what for one in audited(living).findings] == ["repair cut short: run `mrag repair`"]
    done = repaired(living)
    assert (done.restored, done.recounted) == (0, False)
    assert not live_record(living.index).is_changing()
    assert not audited(living).findings
    assert live_record(living.index).repairs == 2
