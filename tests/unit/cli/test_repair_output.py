"""What `mrag repair` tells a person, and a program."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mrag_pipeline.cli.repair import _show

NOTHING: dict[str, Any] = {
    "index": "docs",
    "version": "v0123456789ab",
    "restored_rows": 0,
    "removed_rows": 0,
    "removed_documents": 0,
    "recounted": False,
    "record_made_anew": False,
    "made_live_again": False,
    "searches_still_damaged": [],
}
MUCH = NOTHING | {
    "restored_rows": 1_204,
    "removed_rows": 7,
    "removed_documents": 2,
    "recounted": True,
    "record_made_anew": True,
    "made_live_again": True,
}


def test_a_person_reads_words(capsys: pytest.CaptureFixture[str]) -> None:
    """What was done, and nothing of what was not."""
    _show(NOTHING, json=False)
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "version v0123456789ab",
        "rows 0 restored, 0 removed",
        "documents none removed",
        "record as it was",
    ]
    _show(MUCH, json=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "rows 1,204 restored, 7 removed documents 2 removed: they could not" in told
    assert told.endswith("record made anew from staging live made live again")


def test_a_program_reads_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """The same whatever was done."""
    _show(MUCH, json=True)
    assert json.loads(capsys.readouterr().out) == MUCH
