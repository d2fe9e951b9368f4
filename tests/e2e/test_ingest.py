"""`mrag ingest`: a corpus becomes a live index; a second run reuses everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.project_folder import GOOD, Ended, Undisturbed, run

pytestmark = pytest.mark.timeout(1800)

NOISE = ("Traceback", "INFO  |", "Warning", "WARNING", "prefect.")


def test_an_ingest_reports_its_results(undisturbed: Undisturbed) -> None:
    """The version, its contents and what was set aside, on standard output."""
    out = undisturbed.first.out
    assert re.search(r"version +stories v[0-9a-f]{12} is live", out)
    assert re.search(rf"documents +{GOOD}\b", out)
    assert re.search(r"chunks +\d+ in each of 14 collections", out)
    assert re.search(r"dead letters +6\b", out)
    assert re.search(r"collections +14 built, 0 already complete", out)
    assert re.search(
        r"recall +1\.0000 of the exact top 10, lowest of 14 collections;\s+99% sure", out
    )


def test_an_ingest_is_quiet(undisturbed: Undisturbed) -> None:
    """A few lines of progress: no traceback, no log lines of the engines."""
    for ended in (undisturbed.first, undisturbed.second):
        assert not [word for word in NOISE if word in ended.err], ended.err
        assert len(ended.err.splitlines()) < 40
        assert "embed: " in ended.err
        assert re.search(r"verify: (\d+) of \1 items", ended.err)


def test_nobody_else_can_read_what_was_written(undisturbed: Undisturbed) -> None:
    """Staging, the index and its records hold texts: files are 0600, folders 0700."""
    written = list((undisturbed.project / ".mrag").rglob("*"))
    assert len(written) > 100
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def test_the_second_run_reuses_everything(undisturbed: Undisturbed) -> None:
    """No shard is embedded, no collection built, no staged byte changed."""
    facts = undisturbed.second.json()
    assert facts["shards"] == facts["reused_shards"] > 10
    assert (facts["built_collections"], facts["collections"]) == (0, 14)
    assert (facts["documents"], facts["dead_letters"]) == (GOOD, 6)
    assert facts["was_live"] is True
    assert facts["recall"] == 1.0
    assert undisturbed.files_after_second == undisturbed.files


def test_every_collection_has_every_chunk(undisturbed: Undisturbed) -> None:
    """Twelve heads, the words, the chunks and their texts: the same ids in each."""
    ids = {name: set(rows) for name, rows in undisturbed.rows.items()}
    assert len(ids) == 12 + 1 + 1 + 1
    assert all(len(row_ids) == len(ids["texts"]) >= GOOD for row_ids in ids.values())
    assert len({frozenset(row_ids) for row_ids in ids.values()}) == 1


def test_status_shows_the_live_version(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Its counts, and whether it is whole."""
    ended = run("status", "--json", cwd=undisturbed.project, log=tmp_path / "status")
    assert (ended.code, ended.err) == (0, "")
    facts = ended.json()
    [version] = facts["versions"]
    assert facts["live"] == version["version"]
    assert version["live"]
    assert version["whole"]
    assert (version["documents"], version["heads"], version["dead_letters"]) == (GOOD, 12, 6)
    assert set(version["rows"].values()) == {version["chunks"]}


def test_inspect_shows_a_document_in_every_head(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Of two documents with the same id, the first is kept."""
    ended = run("inspect", "d3", "--json", cwd=undisturbed.project, log=tmp_path / "inspect")
    assert ended.code == 0, ended.err
    chunks = ended.json()["chunks"]
    assert chunks[0]["text"].startswith("Person number 3 ")
    assert chunks[0]["title"] == "Story 3"
    assert chunks[0]["metadata"] == {"year": 1803}
    assert all(norm > 0 for chunk in chunks for norm in chunk["head_norms"].values())
    assert len(chunks[0]["head_norms"]) == 12


@pytest.mark.long
def test_a_damaged_file_of_dead_letters_is_removed_and_written_by_the_next_sync(
    project: Path, tmp_path: Path, prefect: str
) -> None:
    """As its message says, though nothing has changed and no file is read again."""

    def typed(*words: str) -> Ended:
        return run(*words, "--json", cwd=project, log=tmp_path / words[0], prefect=prefect)

    expected = typed("sync").json()["dead_letters"]
    listed = typed("deadletters", "list").json()
    file = project / f".mrag/staging/stories/dead_letters/{listed['run']}.parquet"
    file.write_bytes(file.read_bytes()[:100])
    refused = typed("deadletters", "list")
    assert refused.code == 6
    assert f"{file} is damaged" in refused.err
    assert "to fix: remove it; `mrag ingest` or `mrag sync`, whichever wrote it" in refused.err
    file.unlink()
    assert typed("sync").code == 0
    again = typed("deadletters", "list").json()
    assert again["run"] == listed["run"]
    assert len(again["dead_letters"]) == len(listed["dead_letters"]) == expected > 0
