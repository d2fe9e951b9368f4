"""kill -9 at any point, then the same command: the same index as without faults."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from mrag_pipeline.processes import alive_after
from tests.support.project_folder import (
    TIMEOUT_S,
    Undisturbed,
    contents,
    end,
    family_of,
    receipts,
    run,
    staged_files,
    start,
    wait_for,
)

pytestmark = pytest.mark.timeout(1800)


def actors(family: list[psutil.Process]) -> list[psutil.Process]:
    embedding = []
    for process in family:
        try:
            if "WorkActor" in " ".join(process.cmdline()):
                embedding.append(process)
        except psutil.Error:
            continue
    return embedding


@pytest.mark.slow
def test_killed_actor(
    undisturbed: Undisturbed, disturbed: Path, tmp_path: Path, prefect: str
) -> None:
    """Its shard is tried again: the run succeeds, with the same bytes."""
    process = start("ingest", cwd=disturbed, log=tmp_path / "run", prefect=prefect)
    try:
        wait_for(lambda: receipts(disturbed) >= 2, process)
        victims = actors(family_of(process))
        assert victims
        os.kill(victims[0].pid, signal.SIGKILL)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        end(process)
    assert "Traceback" not in (tmp_path / "run.err").read_text()
    assert staged_files(disturbed) == undisturbed.files
    assert contents(disturbed) == undisturbed.rows


@pytest.mark.long
def test_killed_driver(
    undisturbed: Undisturbed, disturbed: Path, tmp_path: Path, prefect: str
) -> None:
    """Killed while it embeds, then while it loads; the next run resumes each time."""
    process = start("ingest", cwd=disturbed, log=tmp_path / "embedding", prefect=prefect)
    try:
        wait_for(lambda: receipts(disturbed) >= 3, process)
        family = family_of(process)
        embedding = actors(family)
        process.kill()
        process.wait()
        assert embedding
        assert alive_after(30, embedding) == []
    finally:
        end(process, family)
    done = receipts(disturbed)
    assert 3 <= done < len([name for name in undisturbed.files if name.endswith("receipt.json")])

    process = start("ingest", cwd=disturbed, log=tmp_path / "loading", prefect=prefect)
    collections = disturbed / ".mrag" / "index.db" / "collections"
    try:
        wait_for(lambda: len(list(collections.glob("stories_v*_h04"))) == 1, process, 0.001)
        family = family_of(process)
        process.kill()
    finally:
        end(process, family)
    assert staged_files(disturbed) == undisturbed.files
    assert 0 < len(list(collections.glob("stories_v*"))) < 14

    ended = run("ingest", "--json", cwd=disturbed, log=tmp_path / "finishing", prefect=prefect)
    assert ended.code == 0, ended.err
    facts = ended.json()
    assert facts["reused_shards"] == facts["shards"]
    assert 0 < facts["built_collections"] < 14
    assert staged_files(disturbed) == undisturbed.files
    assert contents(disturbed) == undisturbed.rows


@pytest.mark.slow
def test_interrupted(
    undisturbed: Undisturbed, disturbed: Path, tmp_path: Path, prefect: str
) -> None:
    """Ctrl-C ends every process of the run, says how to resume, and exits with 130."""
    process = start("ingest", cwd=disturbed, log=tmp_path / "run", prefect=prefect)
    try:
        wait_for(lambda: receipts(disturbed) >= 1, process)
        family = family_of(process)
        process.send_signal(signal.SIGINT)
        code = process.wait(120)
        alive = alive_after(20, family)
        running = [" ".join(child.cmdline())[:200] for child in alive if child.is_running()]
    finally:
        end(process)
    err = (tmp_path / "run.err").read_text()
    assert "Traceback" not in err, err
    assert (code, running) == (130, [])
    assert "run the same command again" in err
