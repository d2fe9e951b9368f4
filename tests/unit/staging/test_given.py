"""Documents that a program holds become a file that can be read again."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.staging.given import forget_given, write_given

TABLE = pa.table({"id": ["a", "b"], "text": ["one", "two"]})


def _given(tmp_path: Path, source: object) -> dict[str, object]:
    return write_given(str(tmp_path), "docs", source)


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    """Nothing is copied."""
    assert _given(tmp_path, Path("docs.jsonl")) == {"uri": "docs.jsonl"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "source",
    [TABLE, TABLE.to_reader(), ds.dataset(TABLE)],
    ids=["table", "stream", "dataset"],
)
def test_rows_of_arrow_are_written_as_parquet(tmp_path: Path, source: object) -> None:
    """Whatever gives an Arrow stream."""
    corpus = _given(tmp_path, source)
    assert corpus["format"] == "parquet"
    assert pq.read_table(corpus["uri"]).to_pylist() == TABLE.to_pylist()


def test_dicts_and_documents_are_written_as_lines(tmp_path: Path) -> None:
    """Values that JSON has not are turned into what it has."""
    rows = [
        {
            "id": "a",
            "text": "one",
            "on": date(2020, 1, 2),
            "cost": Decimal("1.5"),
            "n": np.int64(3),
        },
        Document("b", "two", title="Two", metadata={"year": 2001}),
    ]
    lines = Path(str(_given(tmp_path, iter(rows))["uri"])).read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": "a", "text": "one", "on": "2020-01-02", "cost": 1.5, "n": 3},
        {"year": 2001, "id": "b", "title": "Two", "text": "two"},
    ]


def test_the_same_documents_are_the_same_corpus(tmp_path: Path) -> None:
    """So a run that was stopped resumes; other documents are another."""
    first, again = _given(tmp_path, [{"text": "one"}]), _given(tmp_path, [{"text": "one"}])
    assert first == again
    assert _given(tmp_path, [{"text": "two"}]) != first


@pytest.mark.parametrize("source", [3, {"id": "a"}, b"bytes", [3], [{"text": object()}]])
def test_what_is_no_source_is_refused(tmp_path: Path, source: object) -> None:
    """With what it was, and what would do."""
    with pytest.raises(ConfigError):
        _given(tmp_path, source)


def test_metadata_that_would_hide_the_text_is_refused(tmp_path: Path) -> None:
    """A document's own fields and its metadata share one line."""
    with pytest.raises(ConfigError, match="metadata fields text"):
        _given(tmp_path, [Document("a", "one", metadata={"text": "other"})])


def test_files_that_no_version_was_built_from_are_removed_when_they_are_old(tmp_path: Path) -> None:
    """One in use stays whatever its age; a young one may be that of a run at work."""
    used, old, young = (Path(str(_given(tmp_path, [{"text": t}])["uri"])) for t in ("u", "o", "y"))
    now = datetime.now(UTC)
    for file in (used, old):
        moment = (now - timedelta(hours=3)).timestamp()
        os.utime(file, (moment, moment))
    hour_ago = now - timedelta(hours=1)
    assert forget_given(str(tmp_path), "docs", {f"elsewhere/{used.name}"}, hour_ago) == [old.name]
    assert sorted(used.parent.iterdir()) == sorted([used, young])
    assert forget_given(str(tmp_path), "other", set(), now) == []
