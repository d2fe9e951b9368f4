"""A real Prefect server, worker and schedule: a scheduled run starts and updates the index.

SQLAlchemy 2.1 silently breaks Prefect's schedules; this test would notice.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil
import pytest
import yaml

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.stages.versions.lookup import live_record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EVERY_S = 20


def write_corpus(folder: Path, names: list[str]) -> None:
    lines = [json.dumps({"id": name, "text": f"All about {name}, and more."}) for name in names]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def project(tmp_path: Path, minilm: EncoderSpec) -> Path:
    """Three documents, and a config for one process."""
    write_corpus(tmp_path, ["rivers", "violins", "engines"])
    (tmp_path / "mrag.toml").write_text(
        f'[corpus]\nuri = "corpus.jsonl"\n[encoder]\nmodel = "{minilm.model}"\n'
        '[workers]\npool = "serial"\ndevice = "cpu"\n'
    )
    return tmp_path


@pytest.fixture
def environment(project: Path) -> dict[str, str]:
    """The variables that deploy/prefect.yaml needs, for a separate Prefect."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return os.environ | {
        "PREFECT_HOME": str(project / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MRAG_HOME": str(ROOT),
        "MRAG_CONFIG": str(project / "mrag.toml"),
        "OMP_NUM_THREADS": "1",
        "PORT": str(port),
    }


@pytest.fixture
def server(environment: dict[str, str], project: Path) -> Iterator[str]:
    """The API address of a server on the loopback."""
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", environment["PORT"]]
    yield from _running(command, environment, project / "server.log", _healthy)


def _running(
    command: list[str], environment: dict[str, str], log: Path, ready: Any
) -> Generator[str, None, None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while not ready(environment["PREFECT_API_URL"]):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        yield environment["PREFECT_API_URL"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(url: str) -> bool:
    try:
        urlopen(f"{url}/health", timeout=5).close()
    except (URLError, TimeoutError, ConnectionError):
        return False
    return True


def _post(url: str, path: str, body: dict[str, Any]) -> Any:
    request = Request(
        f"{url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _run(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def deploy(environment: dict[str, str], project: Path, sync_every_s: int = 0) -> None:
    """Deploys deploy/prefect.yaml with another schedule for the sync, or none."""
    plan = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())
    [sync] = [one for one in plan["deployments"] if one["name"] == "sync"]
    assert sync["schedules"][0]["cron"]
    sync["schedules"] = [{"interval": sync_every_s}] if sync_every_s else []
    file = project / "prefect.yaml"
    file.write_text(yaml.safe_dump(plan))
    _run(environment, "prefect", "work-pool", "create", "mrag", "--type", "process")
    _run(environment, "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file))


@contextmanager
def a_worker(environment: dict[str, str], project: Path) -> Iterator[None]:
    """A worker of the pool, while the block runs."""
    command = ["prefect", "worker", "start", "--pool", "mrag"]
    with closing(_running(command, environment, project / "worker.log", lambda _: True)) as lines:
        next(lines)
        yield


def documents(project: Path) -> set[str]:
    config = Config.load(project / "mrag.toml")
    with closing(wiring.index(config)) as index:
        name = live_record(index).chunks_collection()
        return {mark.document_id for block in index.marks(name) for mark in block}


def test_a_scheduled_sync_changes_the_index(
    server: str, environment: dict[str, str], project: Path
) -> None:
    """The deployments of deploy/prefect.yaml, with a short schedule; only it starts the run."""
    _run(environment, "mrag", "ingest", "--config", str(project / "mrag.toml"))
    assert documents(project) == {"rivers", "violins", "engines"}
    write_corpus(project, ["rivers", "violins", "glaciers"])
    deploy(environment, project, EVERY_S)
    known = _post(server, "/deployments/filter", {})
    assert {one["name"] for one in known} == {
        *("ingest", "sync", "evaluate", "retire", "audit", "repair", "export", "import")
    }
    with a_worker(environment, project):
        run = _scheduled_run(server, project / "worker.log")
    assert run["auto_scheduled"]
    assert documents(project) == {"rivers", "violins", "glaciers"}
    made = {one["key"] for one in _post(server, "/artifacts/filter", {})}
    assert {"docs-phases", "docs-summary", "docs-importance"} <= made


def test_a_cancelled_ingest_stops_its_actors_and_goes_on(
    server: str, environment: dict[str, str], project: Path
) -> None:
    """Cancelled while Ray actors embed: they are gone, and the next run reuses their shards."""
    write_corpus(project, [f"subject number {i} of many" for i in range(4000)])
    with (project / "mrag.toml").open("a") as file:
        file.write("count = 1\n[sharding]\nshard_mb = 0.005\n")
    text = (project / "mrag.toml").read_text().replace('pool = "serial"', 'pool = "ray"')
    (project / "mrag.toml").write_text(text)
    deploy(environment, project)
    [ingest] = [d for d in _post(server, "/deployments/filter", {}) if d["name"] == "ingest"]
    shards = project / ".mrag" / "staging" / "docs"
    with a_worker(environment, project):
        run = _post(server, f"/deployments/{ingest['id']}/create_flow_run", {})
        _until(lambda: len(list(shards.glob("v*/shards/*/receipt.json"))) >= 2)
        assert _actors(project)
        _run(environment, "prefect", "flow-run", "cancel", run["id"])
        _until(lambda: _state(server, run["id"]) == "CANCELLED")
        _until(lambda: not _actors(project))
    done = len(list(shards.glob("v*/shards/*/receipt.json")))
    again = _run(environment, "mrag", "ingest", "--json", "--config", str(project / "mrag.toml"))
    assert json.loads(again)["reused_shards"] == done
    assert len(documents(project)) == 4000


def _actors(project: Path) -> list[int]:
    """Embedding actors of this project: its config is in their driver's environment."""
    found = []
    for one in psutil.process_iter():
        try:
            mine = one.environ().get("MRAG_CONFIG") == str(project / "mrag.toml")
            if mine and "WorkActor" in " ".join(one.cmdline()):
                found.append(one.pid)
        except psutil.Error:
            continue
    return found


def _state(server: str, run: str) -> str:
    with urlopen(f"{server}/flow_runs/{run}", timeout=30) as answer:
        return str(json.load(answer)["state_type"])


def _until(happened: Callable[[], bool], timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        time.sleep(0.5)


def _scheduled_run(server: str, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        states = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
        done = _post(
            server,
            "/flow_runs/filter",
            {"flow_runs": states | {"deployment_id": {"is_null_": False}}},
        )
        if done:
            assert done[0]["state_type"] == "COMPLETED", log.read_text()[-3000:]
            return dict(done[0])
        time.sleep(2)
    raise AssertionError(f"no scheduled run ended: {log.read_text()[-3000:]}")
