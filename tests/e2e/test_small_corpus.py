"""A small corpus is embedded by the command itself: Prefect reports, no cluster is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.project_folder import Mrag

pytestmark = pytest.mark.timeout(900)


def _write(numbers: range) -> None:
    documents = [{"id": f"d{n}", "text": f"Story {n} of the river {n * 7}."} for n in numbers]
    Path("docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents), "utf-8")


def test_ingest_and_sync_need_no_cluster(mrag: Mrag) -> None:
    """The default config: what the plan says is small is embedded in this process."""
    _write(range(100))
    ingested = mrag("ingest", "docs.jsonl", "--json")
    assert ingested.code == 0, ingested.err
    assert ingested.json()["documents"] == 100
    _write(range(1, 101))
    synced = mrag("sync", "docs.jsonl", "--json")
    assert synced.code == 0, synced.err
    assert (synced.json()["added"], synced.json()["removed"]) == (1, 1)
    for said in (ingested, synced):
        assert "to embed on this process" in said.err


def test_a_single_document_is_found(mrag: Mrag) -> None:
    """No spread, so no importance: every head's vote counts the same."""
    _write(range(1))
    ingested = mrag("ingest", "docs.jsonl")
    assert ingested.code == 0, ingested.err
    [answer] = mrag("search", "the river", "--json").json()
    assert [hit["document_id"] for hit in answer["hits"]] == ["d0"]
