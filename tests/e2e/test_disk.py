"""A full or read-only disk, in each command: one message, nothing lost, and it can be resumed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.project_folder import Mrag, fill, refused, write_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def project(mrag: Mrag, small_disk: Path) -> Path:
    """A live version with staging and index on a small disk of their own; returns the disk."""
    with Path("mrag.toml").open("a") as file:
        file.write(
            f'[workers]\npool = "serial"\n[corpus]\nuri = "x.jsonl"\n'
            f'[staging]\nuri = "{small_disk}/staging"\n[milvus]\nuri = "{small_disk}/x.db"\n'
        )
    write_lines(Path("x.jsonl"), range(8))
    said = mrag("ingest")
    assert said.code == 0, said.err
    return small_disk


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def documents(mrag: Mrag) -> int:
    """How many the live version has; also checks that its audit finds nothing."""
    audit = mrag("audit", "--json")
    assert audit.code == 0, audit.out + audit.err
    listed = mrag("versions", "--json").json()
    [live] = [row for row in listed["versions"] if row["version"] == listed["live"]]
    return int(live["documents"])


def test_a_read_only_staging_folder(mrag: Mrag, project: Path, tmp_path: Path) -> None:
    """Commands that write are refused before they change anything; searches still work."""
    elsewhere = ("-s", f"milvus.uri={tmp_path}/elsewhere.db")
    assert mrag("export", str(tmp_path / "export")).code == 0
    assert mrag("import", str(tmp_path / "export"), "--activate", *elsewhere).code == 0
    write_lines(Path("x.jsonl"), range(10))
    remount(project, "ro")
    try:
        for command in ("sync", "ingest", "retire"):
            refused(mrag(command, *elsewhere), 6, "cannot write", "staging", "Read-only")
        assert mrag("search", "old town", *elsewhere).code == 0
        # A database on that disk is read as it is.
        assert mrag("status").code == 0
        assert mrag("search", "old town").code == 0
    finally:
        remount(project, "rw")
    assert mrag("sync", "--json", *elsewhere).json()["added"] == 2
    assert mrag("sync", "--json").json()["added"] == 2
    assert documents(mrag) == 10


@pytest.mark.parametrize("free_kb", [0, 40, 120])
def test_a_disk_that_is_full_when_syncing(mrag: Mrag, project: Path, free_kb: int) -> None:
    """Exit 7 wherever the space runs out; the same command finishes once there is room."""
    write_lines(Path("x.jsonl"), range(2, 40))
    filler = fill(project, free_kb)
    said = mrag("sync", "--allow-deletes")
    refused(said, 7, "o space left", "run the same command again", at_once=False)
    filler.unlink()
    facts = mrag("sync", "--json", "--allow-deletes")
    assert facts.code == 0, facts.err
    assert documents(mrag) == 38


@pytest.mark.parametrize("free_kb", [0, 40])
def test_a_disk_that_is_full_when_retiring(mrag: Mrag, project: Path, free_kb: int) -> None:
    """It frees what it can; the live version stays whole, and the other is dropped in the end."""
    old = mrag("versions", "--json").json()["live"]
    assert mrag("ingest", "-s", "chunking.max_tokens=32").code == 0
    filler = fill(project, free_kb)
    said = mrag("retire", old)
    assert said.code in (0, 7), said.err
    filler.unlink()
    again = mrag("retire", old)
    assert again.code in (0, 2), again.err
    listed = mrag("versions", "--json").json()
    assert [row["version"] for row in listed["versions"]] == [listed["live"]]
    assert listed["unfinished"] == []
    assert documents(mrag) == 8


@pytest.mark.parametrize("free_kb", [0, 120])
def test_a_disk_that_is_full_when_importing(
    mrag: Mrag, project: Path, tmp_path: Path, free_kb: int
) -> None:
    """Nothing goes live before it is whole; running the import again finishes it."""
    assert mrag("export", str(tmp_path / "export")).code == 0
    other = ("--index", "other")
    filler = fill(project, free_kb)
    said = mrag("import", str(tmp_path / "export"), "--activate", *other)
    refused(said, 7, "o space left", at_once=False)
    filler.unlink()
    assert mrag("versions", "--json", *other).json()["live"] is None
    assert mrag("import", str(tmp_path / "export"), "--activate", *other).code == 0
    listed = mrag("versions", "--json", *other).json()
    assert [row["documents"] for row in listed["versions"]] == [8]
    assert mrag("audit", *other).code == 0
    assert documents(mrag) == 8
