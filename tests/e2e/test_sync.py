"""`mrag sync` over real Prefect, Ray, Milvus Lite and MiniLM: killed, then run again."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.project_folder import Undisturbed, end, family_of, run, start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def changed_copy(undisturbed: Undisturbed, folder: Path) -> Path:
    """A copy of the ingested project with one document changed, one gone, two new."""
    project = folder / "project"
    shutil.copytree(undisturbed.project, project)
    file = project / "corpus" / "a.jsonl"
    lines = [
        line
        for line in file.read_bytes().splitlines()
        if b'"d7"' not in line and b'"d8"' not in line
    ]
    new = [{"id": name, "text": f"An old story of {name}, told anew."} for name in ("d7", "x", "y")]
    file.write_bytes(
        b"\n".join([*lines, *(json.dumps(document).encode() for document in new)]) + b"\n"
    )
    return project


def documents(project: Path) -> dict[str, str]:
    """The fingerprint of each document of the live version, by id."""
    with closing(wiring.index(Config.load(project / "mrag.toml"))) as index:
        name = live_record(index).chunks_collection()
        return {mark.document_id: mark.fingerprint for block in index.marks(name) for mark in block}


def test_a_killed_sync_is_finished_by_the_next(
    undisturbed: Undisturbed, tmp_path: Path, prefect: str
) -> None:
    """Killed with its actors while it embeds; the next one embeds what is missing."""
    project = changed_copy(undisturbed, tmp_path)
    before = documents(project)
    process = start("sync", cwd=project, log=tmp_path / "killed", prefect=prefect)
    family = []
    try:
        plan = "v*/syncs/00001/manifest.json"
        wait_for(lambda: bool(list(project.glob(f".mrag/staging/stories/{plan}"))), process)
        family = family_of(process)
        process.kill()
    finally:
        end(process, family)
    assert documents(project) == before
    ended = run("sync", "--json", cwd=project, log=tmp_path / "again", prefect=prefect)
    assert ended.code == 0, ended.err
    facts = ended.json()
    assert (facts["added"], facts["changed"], facts["removed"]) == (2, 1, 1)
    assert facts["embedded_chunks"] == 3
    after = documents(project)
    assert after.keys() == (before.keys() - {"d8"}) | {"x", "y"}
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == {"d7"}
    audit = run("audit", "--json", cwd=project, log=tmp_path / "audit")
    assert audit.code == 0, audit.out + audit.err
    assert audit.json()["findings"] == []
    letters = run(
        "deadletters", "list", "--json", cwd=project, log=tmp_path / "letters", prefect=prefect
    )
    assert "cut" not in letters.err
    assert len(letters.json()["dead_letters"]) == facts["dead_letters"] > 0
