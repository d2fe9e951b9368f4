from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.locking.owner import Owner
from mrag_pipeline.locking.service_file import announced, running_service

URL = "http://127.0.0.1:8123"


def test_a_service_is_known_while_it_runs(tmp_path: Path) -> None:
    """By its index; another index of the folder has none."""
    assert running_service(tmp_path, "docs") == ""
    with announced(tmp_path, "docs", URL):
        assert running_service(tmp_path, "docs") == URL
        assert running_service(tmp_path, "other") == ""
    assert running_service(tmp_path, "docs") == ""


@pytest.mark.parametrize(
    "left",
    [
        {"birth": Owner.here().birth + "0"},  # a process that had this number before
        {"host": "another-host"},  # loopback is not this machine's
    ],
)
def test_what_another_process_left_is_not_believed(tmp_path: Path, left: dict[str, Any]) -> None:
    """A killed service removes nothing."""
    owner = replace(Owner.here(), **left)
    (tmp_path / "docs").mkdir()
    file = tmp_path / "docs" / "service.json"
    file.write_text(json.dumps({"url": URL, **owner.facts()}))
    assert running_service(tmp_path, "docs") == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1}', "null"])
def test_a_damaged_file_is_no_service(tmp_path: Path, text: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "service.json").write_text(text)
    assert running_service(tmp_path, "docs") == ""


def test_a_folder_that_cannot_be_written_stops_no_service(tmp_path: Path) -> None:
    (tmp_path / "docs").write_text("a file in its place")
    with announced(tmp_path, "docs", URL):
        assert running_service(tmp_path, "docs") == ""
