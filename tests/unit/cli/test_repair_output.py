"""What `mrag repair` tells a person, and a program."""

from __future__ import annotations

import json

import pytest

from mrag_pipeline.cli.repair import _show
from mrag_pipeline.stages.versions.lost_record import FoundVersion
from mrag_pipeline.stages.versions.repair import Repaired
from tests.support.index_rows import a_record

NOTHING = Repaired(a_record(), 0, 0, 0, recounted=False)
MUCH = Repaired(a_record(), 1_204, 7, 2, recounted=True)


def test_a_person_reads_words(capsys: pytest.CaptureFixture[str]) -> None:
    """What was done, and nothing of what was not."""
    _show(NOTHING, FoundVersion(a_record(), is_record_new=False, was_live=False), json=False)
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        f"version {a_record().version}",
        "rows 0 restored, 0 removed",
        "documents none removed",
        "record as it was",
    ]
    _show(MUCH, FoundVersion(a_record(), is_record_new=True, was_live=True), json=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "rows 1,204 restored, 7 removed documents 2 removed: they could not" in told
    assert told.endswith("record made anew from staging live made live again")


def test_a_program_reads_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """The same whatever was done."""
    _show(MUCH, FoundVersion(a_record(), is_record_new=False, was_live=False), json=True)
    assert json.loads(capsys.readouterr().out) == {
        "version": a_record().version,
        "restored_rows": 1_204,
        "removed_rows": 7,
        "removed_documents": 2,
        "recounted": True,
        "record_made_anew": False,
        "made_live_again": False,
        "searches_still_damaged": [],
    }
