"""The command on an existing Ray cluster: as a job, from one of its nodes, from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.project_folder import TIMEOUT_S, Undisturbed, contents, run, staged_files
from tests.support.ray_head import RAY, Head, ray_head

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with ray_head(tmp_path_factory.mktemp("head") / "ray.log") as started:
        yield started


def shards_of(files: Mapping[str, str]) -> dict[str, str]:
    """All files but the manifest, which holds the config and so the cluster's address."""
    shards = {name: digest for name, digest in files.items() if Path(name).name != "manifest.json"}
    assert len(shards) == len(files) - 1
    return shards


def test_a_submitted_job_builds_the_index_of_a_local_run(
    undisturbed: Undisturbed, disturbed: Path, head: Head, prefect: str
) -> None:
    """`ray job submit` runs the driver on the head; staging is equal byte for byte."""
    command = [sys.executable, "-m", "mrag_pipeline.cli", "ingest", "--json", "--address", "auto"]
    submitted = subprocess.run(
        [
            *(RAY, "job", "submit", "--address", head.jobs),
            *("--runtime-env-json", json.dumps({"env_vars": {"PREFECT_API_URL": prefect}}), "--"),
            *(*command, "--config", str(disturbed / "mrag.toml")),
        ],
        env=dict(head.env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    said = submitted.stdout + submitted.stderr
    assert submitted.returncode == 0, said
    assert "succeeded" in said
    assert shards_of(staged_files(disturbed)) == shards_of(undisturbed.files)
    assert contents(disturbed) == undisturbed.rows


def test_a_job_that_fails_says_why(head: Head, disturbed: Path) -> None:
    """The job fails as the command does, and its log has our message."""
    command = [sys.executable, "-m", "mrag_pipeline.cli", "ingest", "/no/such/corpus"]
    config = ("--config", str(disturbed / "mrag.toml"))
    submitted = subprocess.run(
        [RAY, "job", "submit", "--address", head.jobs, "--", *command, *config],
        env=dict(head.env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert submitted.returncode != 0
    assert "no such file or folder" in submitted.stdout + submitted.stderr


@pytest.mark.parametrize("where", ["address", "client"])
def test_a_driver_outside_the_cluster(
    undisturbed: Undisturbed,
    disturbed: Path,
    head: Head,
    where: str,
    prefect: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--address HOST:PORT` on one of its nodes, `--address ray://...` from elsewhere."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, head.env[name])
    ended = run(
        *("ingest", "--json", "--address", getattr(head, where)),
        cwd=disturbed,
        log=tmp_path / "run",
        prefect=prefect,
    )
    assert ended.code == 0, ended.err
    assert "starting a local Ray" not in ended.err
    assert shards_of(staged_files(disturbed)) == shards_of(undisturbed.files)
    assert contents(disturbed) == undisturbed.rows


@pytest.mark.parametrize("where", ["address", "client"])
def test_a_driver_without_the_clusters_token_is_refused(
    disturbed: Path, head: Head, where: str, prefect: str, tmp_path: Path
) -> None:
    """The error names the variables to set."""
    ended = run(
        *("ingest", "--address", getattr(head, where)),
        cwd=disturbed,
        log=tmp_path / "run",
        prefect=prefect,
    )
    assert ended.code == 8, ended.err
    assert "RAY_AUTH_TOKEN" in ended.err
    assert "Traceback" not in ended.err


def test_a_missing_cluster_is_reported(disturbed: Path, prefect: str, tmp_path: Path) -> None:
    """Exit code 8, with the address."""
    ended = run(
        *("ingest", "--address", "ray://127.0.0.1:9"),
        cwd=disturbed,
        log=tmp_path / "run",
        prefect=prefect,
    )
    assert ended.code == 8, ended.err
    assert "no Ray cluster at 'ray://127.0.0.1:9'" in ended.err
    assert "Traceback" not in ended.err
