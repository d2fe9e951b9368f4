"""What every index promises whose collections several loaders fill.

On a real server too: `make test-contract`, or MRAG_TEST_MILVUS.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.errors import IndexUnavailable, PlanRefused, VerifyFailed
from mrag_pipeline.ports import VectorIndex
from tests.support.empty_index import open_empty
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, TEXTS, texts, vectors
from tests.support.milvus_server import SERVER
from tests.support.ranged_index import RangedIndex

ROWS = {"a": 250, "b": 50, "empty": 0}
VECTORS = vectors(300)
TABLES = {
    "a": [table_of(range(200), VECTORS[:200]), table_of(range(200, 250), VECTORS[200:250])],
    "b": [table_of(range(250, 300), VECTORS[250:])],
    "empty": [],
}


@pytest.fixture(params=["fake", *(["server"] if SERVER else [])])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """An empty index named docs."""
    opened = RangedIndex() if request.param == "fake" else open_empty(request.param, tmp_path)
    yield opened
    opened.close()


def fill(index: VectorIndex, *names: str) -> None:
    """Loads these ranges, one attempt each."""
    ranges = index.ranges()
    assert ranges is not None
    for name in names:
        reported: list[int] = []
        assert ranges.load_range(HEAD, name, TABLES[name], reported.append) == ROWS[name]
        assert sum(reported) == ROWS[name]


def assert_whole(index: VectorIndex) -> None:
    """Every row of all ranges is there once, and searches find it."""
    assert index.is_complete(HEAD, 300)
    assert sorted(np.concatenate(list(index.ids(HEAD.name)))) == list(range(300))
    stored = index.vectors(HEAD.name, range(300))
    assert all(np.allclose(stored[i], VECTORS[i], atol=1e-6) for i in range(300))


def test_ranges_become_one_collection(index: VectorIndex) -> None:
    """Until it is ended it is not complete, whatever it holds."""
    ranges = index.ranges()
    assert ranges is not None
    assert ranges.begin_ranges(HEAD, ROWS) == set()
    fill(index, "b", "empty", "a")
    assert not index.is_complete(HEAD, 300)
    assert ranges.end_ranges(HEAD, ROWS) == 300
    assert_whole(index)


def test_only_one_whole_attempt_at_a_range_is_kept(index: VectorIndex) -> None:
    """One that broke, and a second whole one, add no row."""
    ranges = index.ranges()
    assert ranges is not None
    ranges.begin_ranges(HEAD, ROWS)

    class Died(Exception):
        pass

    def dies(_: int) -> None:
        raise Died

    with pytest.raises(Died):
        ranges.load_range(HEAD, "a", TABLES["a"], dies)
    fill(index, "a", "b", "a", "empty")
    assert ranges.end_ranges(HEAD, ROWS) == 300
    assert_whole(index)


def test_what_a_cut_load_finished_is_kept(index: VectorIndex) -> None:
    """Beginning again names the whole ranges; only the others are loaded again."""
    ranges = index.ranges()
    assert ranges is not None
    ranges.begin_ranges(HEAD, ROWS)
    fill(index, "a")
    half = TABLES["b"][0].slice(0, 30)
    with pytest.raises(RuntimeError):
        ranges.load_range(HEAD, "b", [half, *TABLES["b"]], _breaks)
    assert ranges.begin_ranges(HEAD, ROWS) == {"a"}
    fill(index, "b", "empty")
    ranges.end_ranges(HEAD, ROWS)
    assert_whole(index)


def test_a_range_that_is_missing_ends_nothing(index: VectorIndex) -> None:
    """The collection is not complete then, and can be filled on."""
    ranges = index.ranges()
    assert ranges is not None
    ranges.begin_ranges(HEAD, ROWS)
    fill(index, "a", "empty")
    with pytest.raises(VerifyFailed, match="b"):
        ranges.end_ranges(HEAD, ROWS)
    assert not index.is_complete(HEAD, 250)
    fill(index, "b")
    assert ranges.end_ranges(HEAD, ROWS) == 300


def test_a_loader_that_lives_on_adds_nothing(index: VectorIndex) -> None:
    """Its rows go nowhere: neither into the ended collection nor into one begun anew."""
    ranges = index.ranges()
    assert ranges is not None
    ranges.begin_ranges(HEAD, ROWS)

    def slow() -> Iterator[object]:
        yield TABLES["a"][0]
        fill(index, "a", "b", "empty")  # another one does it
        ranges.end_ranges(HEAD, ROWS)
        yield TABLES["a"][1]

    with pytest.raises((IndexUnavailable, PlanRefused)):
        ranges.load_range(HEAD, "a", slow(), lambda _: None)
    assert_whole(index)
    with pytest.raises((IndexUnavailable, PlanRefused)):
        fill(index, "b")  # a late one begins
    assert_whole(index)


def test_other_ranges_of_an_earlier_plan_are_not_kept(index: VectorIndex) -> None:
    """A range of the same name with another number of rows is another one."""
    ranges = index.ranges()
    assert ranges is not None
    ranges.begin_ranges(HEAD, {"a": 250, "rest": 50})
    fill(index, "a")
    ranges.load_range(HEAD, "rest", TABLES["b"], lambda _: None)
    assert ranges.begin_ranges(HEAD, {"a": 249, "b": 51}) == set()
    assert ranges.begin_ranges(HEAD, ROWS) == set()
    fill(index, "a", "b", "empty")
    assert ranges.end_ranges(HEAD, ROWS) == 300


def test_rows_of_ranges_are_replaced_and_removed(index: VectorIndex) -> None:
    """A sync's upsert replaces the row wherever its load has put it; a delete finds it too."""
    ranges = index.ranges()
    assert ranges is not None
    rows = {"x": 2, "y": 2}
    ranges.begin_ranges(TEXTS, rows)
    ranges.load_range(TEXTS, "x", [texts(["a", "a"])], lambda _: None)
    ranges.load_range(TEXTS, "y", [texts(["b", "c"], first_id=3)], lambda _: None)
    assert ranges.end_ranges(TEXTS, rows) == 4
    for _ in range(2):
        index.upsert(TEXTS, texts(["d"], first_id=3))
        assert index.count(TEXTS.name) == 4
    assert index.chunks(TEXTS.name, [3])[3].document_id == "d"
    index.delete(TEXTS.name, [1, 3])
    assert sorted(np.concatenate(list(index.ids(TEXTS.name)))) == [2, 4]
    index.drop(TEXTS.name)
    assert index.collections() == []


def test_a_whole_load_replaces_what_was_begun(index: VectorIndex) -> None:
    """And the other way round."""
    ranges = index.ranges()
    assert ranges is not None
    ranges.begin_ranges(HEAD, ROWS)
    fill(index, "a")
    assert index.load(HEAD, TABLES["b"]) == 50
    assert index.is_complete(HEAD, 50)
    ranges.begin_ranges(HEAD, ROWS)
    fill(index, *ROWS)
    assert ranges.end_ranges(HEAD, ROWS) == 300


def _breaks(_: int) -> None:
    raise RuntimeError("the worker died")
