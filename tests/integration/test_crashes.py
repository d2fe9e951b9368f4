"""Every write of every command is a point to be killed at; the same command puts it right."""

from __future__ import annotations

from collections import Counter

import pytest

from mrag_pipeline.errors import IndexUnavailable, StorageFull
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.crash_table import BEGIN, END, PAGE, Outcome, outcomes, table, torn
from tests.support.living_index import Living, a_document

COMMANDS = {
    *("ingest", "ingest in ranges", "sync", "push", "reindex", "activate", "retire", "export"),
    *("import", "import in ranges", "repair", "repair without staging"),
    "repair, a staged shard lost",
}


@pytest.fixture(scope="module")
def found() -> list[Outcome]:
    """Over a hundred kills and second runs."""
    return list(outcomes())


def test_some_kills_of_each_command_leave_no_trace() -> None:
    """Before one write in six; before all of them by `make test-long`."""
    some = list(outcomes(every=6))
    assert [(o.scenario, o.point, o.problems) for o in some if o.problems] == []
    assert {outcome.scenario for outcome in some} == COMMANDS


@pytest.mark.long
def test_no_kill_leaves_a_trace(found: list[Outcome]) -> None:
    """Audit finds nothing, and ids, counts, vectors, texts, importance are an undisturbed run's.

    Nor does a reader, between the kill and the second run, see half a document.
    """
    assert [(o.scenario, o.point, o.problems) for o in found if o.problems] == []


@pytest.mark.long
def test_there_are_many_points(found: list[Outcome]) -> None:
    """At least 60 in all, and of each command."""
    counted = Counter(outcome.scenario for outcome in found)
    assert len(found) >= 60
    assert set(counted) == COMMANDS
    assert counted["sync"] >= 15


@pytest.mark.long
def test_the_page_shows_this_table(found: list[Outcome]) -> None:
    """`python -m tests.support.crash_table` writes it anew."""
    shown = PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert shown == table(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [StorageFull("no space left"), IndexUnavailable("no answer")],
    ids=lambda e: type(e).__name__,
)
def test_no_error_leaves_a_trace(error: BaseException) -> None:
    """A full disk or a silent server at any write of any command: the same run after it is whole.

    Unlike a kill, an error runs every handler on its way out.
    """
    assert [(o.scenario, o.point, o.problems) for o in outcomes(error) if o.problems] == []


def test_a_torn_document_is_seen(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The check that the table rests on can fail."""
    index = ExactIndex("docs")
    Living(tmp_path, [a_document(0), a_document(1)], index).ingest()
    assert torn(index) == []
    head = live_record(index).head_collections()[0]
    index.delete(head, [next(index.ids(head))[0]])
    assert len(torn(index)) == 1
