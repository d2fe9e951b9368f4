"""A small corpus is embedded by the command itself: Prefect reports, no cluster is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import run

pytestmark = pytest.mark.timeout(900)


def _write(folder: Path, numbers: range) -> None:
    documents = [{"id": f"d{n}", "text": f"Story {n} of the river {n * 7}."} for n in numbers]
    lines = "\n".join(map(json.dumps, documents))
    (folder / "docs.jsonl").write_text(f"{lines}\n", "utf-8")


def _configure(folder: Path, minilm: EncoderSpec) -> None:
    config = f'[corpus]\nuri = "docs.jsonl"\n[encoder]\nmodel = "{minilm.model}"\n'
    (folder / "mrag.toml").write_text(config)


def test_ingest_and_sync_need_no_cluster(minilm: EncoderSpec, prefect: str, tmp_path: Path) -> None:
    """The default config: what the plan says is small is embedded in this process."""
    _write(tmp_path, range(100))
    _configure(tmp_path, minilm)
    ingested = run("ingest", "--json", cwd=tmp_path, log=tmp_path / "ingest", prefect=prefect)
    assert ingested.code == 0, ingested.err
    assert ingested.json()["documents"] == 100
    _write(tmp_path, range(1, 101))
    synced = run("sync", "--json", cwd=tmp_path, log=tmp_path / "sync", prefect=prefect)
    assert synced.code == 0, synced.err
    assert (synced.json()["added"], synced.json()["removed"]) == (1, 1)
    for ended in (ingested, synced):
        assert "to embed on this process" in ended.err


def test_a_single_document_is_found(minilm: EncoderSpec, prefect: str, tmp_path: Path) -> None:
    """No spread, so no importance: every head's vote counts the same."""
    _write(tmp_path, range(1))
    _configure(tmp_path, minilm)
    ingested = run("ingest", cwd=tmp_path, log=tmp_path / "ingest", prefect=prefect)
    assert ingested.code == 0, ingested.err
    searched = run("search", "the river", "--json", cwd=tmp_path, log=tmp_path / "search")
    [answer] = searched.json()
    assert [hit["document_id"] for hit in answer["hits"]] == ["d0"]
