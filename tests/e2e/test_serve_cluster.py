"""`mrag serve` on an existing Ray cluster that already serves another application."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.project_folder import ROOT, Undisturbed, end, environment, family_of, run
from tests.support.ray_head import a_token
from tests.support.served_project import QUERY, free_port, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True, slots=True)
class ExistingRay:
    """A cluster with another application, whose Serve listens on its own port."""

    address: str
    port: int
    look: Callable[[], dict[str, Any]]


@contextmanager
def existing_ray(log: Path) -> Iterator[ExistingRay]:
    """Starts a Ray cluster without our settings, and Serve with another application."""
    port = free_port()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.existing_ray", str(port)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    def next_report() -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        report: dict[str, Any] = json.loads(line)
        return report

    def look() -> dict[str, Any]:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        return next_report()

    try:
        yield ExistingRay(next_report()["address"], port, look)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(60)
        finally:
            end(process, family_of(process))


def test_it_joins_an_existing_cluster_and_leaves_it_unchanged(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers as `mrag search` does, on the port of that cluster's Serve.

    The other application stays. Its own processes end with it, and the database is free.
    """
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    searched = run("search", QUERY, "-k", "3", "--json", cwd=project, log=tmp_path / "search")
    assert searched.code == 0, searched.err
    for name, value in a_token().items():  # Ray requires one by default
        monkeypatch.setenv(name, value)
    with existing_ray(tmp_path / "ray.err") as other:
        before = other.look()
        assert before == {"applications": {"another": "RUNNING"}, "answer": "another"}
        joined = ("-s", f"workers.address={other.address}")
        with serving(project, tmp_path / "serve", *joined) as service:
            assert service.url == f"http://127.0.0.1:{other.port}"
            answer = service.search(k=3)
            assert [hit["document_id"] for hit in answer["hits"]] == [
                hit["document_id"] for hit in searched.json()[0]["hits"]
            ]
            assert other.look()["applications"] == {"another": "RUNNING", "mrag": "RUNNING"}
            assert httpx.get(f"{service.url}/another", timeout=30).text == "another"
            code, running = service.stop()
            assert (code, running) == (0, [])
        assert other.look() == before
        again = run("search", QUERY, "--json", cwd=project, log=tmp_path / "after")
        assert again.code == 0, again.err
