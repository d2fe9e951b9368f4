"""A file of dead letters for each run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import StagingError
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.dead_letters import DeadLetterFiles

LETTERS = [
    DeadLetter("a", "c.jsonl:3", "no text", "0" * 32),
    DeadLetter("", "c.jsonl:9", "not JSON: \ud800", ""),
]


def files(folder: Path) -> DeadLetterFiles:
    return DeadLetterFiles(StagingSpec(uri=str(folder)), "docs")


def test_letters_come_back(tmp_path: Path) -> None:
    """Id, place, reason, hash; broken text is told in letters that can be written."""
    where = files(tmp_path).write("v1", LETTERS)
    assert Path(where).is_file()
    first, second = files(tmp_path).read("v1")
    assert first == LETTERS[0]
    assert second.reason == "not JSON: \\ud800"


def test_the_last_written_run_stands_last(tmp_path: Path) -> None:
    """Whatever its name; a run done again is one run, with the same bytes."""
    files(tmp_path).write("v9", LETTERS)
    where = Path(files(tmp_path).write("v1-sync-00001", LETTERS[:1]))
    os.utime(where.with_name("v9.parquet"), (1, 1))
    assert files(tmp_path).runs() == ["v9", "v1-sync-00001"]
    before = where.read_bytes()
    files(tmp_path).write("v1-sync-00001", LETTERS[:1])
    assert where.read_bytes() == before
    assert files(tmp_path).runs() == ["v9", "v1-sync-00001"]


def test_no_run_is_no_error_until_it_is_read(tmp_path: Path) -> None:
    """An index without dead letters lists none."""
    assert files(tmp_path).runs() == []
    with pytest.raises(StagingError, match="v7"):
        files(tmp_path).read("v7")
