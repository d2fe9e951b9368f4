"""A service under load while versions change, replicas die and settings change.

Milvus Lite is shared through `milvus-lite server`, as docs/operations.md has it.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.ports import VectorIndex
from tests.support.milvus_lite_server import lite_server
from tests.support.project_folder import ROOT, Undisturbed, end, environment, family_of, run
from tests.support.served_project import Load, Service, free_port, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True, slots=True)
class Shared:
    """A project whose index several processes reach at one URI."""

    project: Path
    uri: str
    index: VectorIndex

    def setting(self) -> tuple[str, str]:
        return "-s", f"milvus.uri={self.uri}"

    def ingest(self, log: Path, max_tokens: int) -> str:
        """Builds another version of the same corpus and makes it live; returns its name."""
        ended = run(
            *("ingest", "--json", *self.setting(), "-s", f"chunking.max_tokens={max_tokens}"),
            cwd=self.project,
            log=log,
        )
        assert ended.code == 0, ended.err
        return str(ended.json()["version"])


@pytest.fixture(scope="module")
def shared(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A copy of the built project, served by `milvus-lite server`."""
    project = tmp_path_factory.mktemp("shared") / "project"
    shutil.copytree(undisturbed.project, project)
    with lite_server(project / ".mrag" / "index.db") as server:
        config = Config.load(project / "mrag.toml", {"milvus": {"uri": server.uri}})
        with closing(wiring.index(config)) as index:
            yield Shared(project, server.uri, index)


@pytest.fixture(scope="module")
def service(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the module."""
    log = tmp_path_factory.mktemp("living") / "serve"
    # On a busy machine a replica may take longer to start than the default time-outs.
    patient = ("-s", "serve.timeout_s=300", "-s", "serve.head_timeout_s=120")
    with serving(shared.project, log, *shared.setting(), *patient) as running:
        yield running


def test_an_ingest_and_flips_under_load_lose_no_request_and_mix_no_versions(
    shared: Shared, service: Service, tmp_path: Path
) -> None:
    """Every request is answered, its three searches from one version."""
    first = service.ready["version"]
    with Load(service) as load:
        load.wait_for(5)
        second = shared.ingest(tmp_path / "ingest", 24)
        load.wait_until(lambda: load.versions[second] > 0)
        for flip in range(10):
            version = (first, second)[flip % 2]
            shared.index.activate(version)
            before = load.versions[version]
            load.wait_until(lambda v=version, b=before: load.versions[v] > b)  # type: ignore[misc]
    assert load.faults == []
    assert set(load.statuses) == {200}
    assert set(load.versions) == {first, second}
    # The very next request follows a flip.
    shared.index.activate(first)
    assert service.search()["version"] == first


def test_a_version_dropped_right_after_the_flip_loses_no_request(
    shared: Shared, service: Service, tmp_path: Path
) -> None:
    """Without a grace period: searches that had resolved the old version are repeated."""
    first = service.ready["version"]
    second = shared.ingest(tmp_path / "ingest", 20)
    record = shared.index.record(second)
    assert record is not None
    assert service.search()["version"] == second
    with Load(service) as load:
        load.wait_for(5)
        shared.index.activate(first)
        for name in (*record.head_collections(), record.chunks_collection()):
            shared.index.drop(name)
        shared.index.drop_record(second)
        load.wait_for(10)
    assert load.faults == []
    assert set(load.statuses) == {200}


@pytest.mark.parametrize("deployment", ["QueryEncoder", "HeadSearch"])
def test_a_killed_replica_loses_no_request(service: Service, deployment: str) -> None:
    """Its requests wait for its replacement."""
    with Load(service) as load:
        load.wait_for(5)
        [replica] = service.replicas(deployment)
        replica.kill()
        load.wait_for(20)
    assert load.faults == []
    assert set(load.statuses) == {200}
    [fresh] = service.replicas(deployment)
    assert fresh.pid != replica.pid


def test_a_killed_api_replica_loses_no_request(shared: Shared, tmp_path: Path) -> None:
    """HAProxy sends what it had to the other one: requests only read."""
    two = (*shared.setting(), "-s", "serve.api_replicas=2", "-s", "serve.timeout_s=300")
    with (
        serving(shared.project, tmp_path / "serve", *two) as service,
        Load(service, num_callers=8) as load,
    ):
        load.wait_for(16)
        replica, _ = service.replicas("QueryApi")
        replica.kill()
        load.wait_for(40)
    assert load.faults == []
    assert set(load.statuses) == {200}


def named(service: Service, name: str) -> list[psutil.Process]:
    """The service's processes of that name that live."""
    found = []
    for one in family_of(service.process):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if one.name() == name and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def test_a_killed_haproxy_is_back_in_seconds(service: Service) -> None:
    """Until then nobody listens, or callers are told to come back; none is told 404 or 500."""
    with Load(service) as load:
        load.wait_for(5)
        [front] = named(service, "haproxy")
        front.kill()
        load.wait_until(lambda: load.statuses[0] > 0)
        before = load.statuses[200]
        load.wait_until(lambda: load.statuses[200] > before + 5)
    assert set(load.statuses) <= {0, 200, 503}
    refused = [fault for fault in load.faults if "Error" not in fault]
    assert all('"status": 503' in fault for fault in refused)


@pytest.mark.parametrize("manager", ["HAProxyManager", "ProxyActor"])
def test_a_killed_manager_of_haproxy_is_back_in_seconds(service: Service, manager: str) -> None:
    """Serve's actor that starts HAProxy, which ends with it, and the one HAProxy falls back to.

    A new one is there, and has a HAProxy that knows the replicas; nobody is told 404 or 500.
    """
    with Load(service) as load:
        load.wait_for(5)
        [killed] = service.workers(manager)
        killed.kill()
        began = time.monotonic()
        load.wait_until(lambda: bool(set(service.workers(manager)) - {killed}))
        seconds = time.monotonic() - began
        before = load.statuses[200]
        load.wait_until(lambda: load.statuses[200] > before + 5)
        answered_s = time.monotonic() - began
    print(f"{manager}: a new one after {seconds:.1f} s, five more answers after {answered_s:.1f} s")
    assert set(load.statuses) <= {0, 200, 503}, load.faults
    refused = [fault for fault in load.faults if "Error" not in fault]
    assert all('"status": 503' in fault for fault in refused)
    # An old one may still be ending its connections.
    load.wait_until(lambda: len(named(service, "haproxy")) == 1)


def test_a_service_told_to_stop_answers_what_it_has(shared: Shared, tmp_path: Path) -> None:
    """Serve's replicas drain: each caller gets an answer, or finds that nobody listens."""
    with serving(shared.project, tmp_path / "serve", *shared.setting()) as service:
        with Load(service, num_callers=4) as load:
            load.wait_for(8)
            service.process.send_signal(signal.SIGTERM)
            load.wait_until(lambda: load.statuses[0] > 0)
        assert service.process.wait(120) == 0
    assert set(load.statuses) <= {0, 200, 500, 503}
    cut_off = [fault for fault in load.faults if "ConnectError" not in fault]
    assert cut_off == []


def test_settings_change_under_load(shared: Shared, tmp_path: Path) -> None:
    """Deploying deploy/serve.yaml again with another user_config restarts no replica."""
    first = shared.index.live()
    second = shared.ingest(tmp_path / "ingest", 28)
    assert first
    port = free_port()
    with (tmp_path / "deploying.err").open("wb") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.prefect_deployment", "deploy/serve.yaml"),
                *(str(shared.project / "mrag.toml"), str(port), shared.uri),
            ],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    def deployed() -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == b"ready\n", (tmp_path / "deploying.err").read_text()

    def deploy(**user_config: object) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(user_config).encode() + b"\n")
        process.stdin.flush()
        deployed()

    try:
        deployed()
        service = Service(process, {"url": f"http://127.0.0.1:{port}"}, tmp_path / "deploying")
        assert service.search()["version"] == second
        names = ("QueryApi", "QueryEncoder", "HeadSearch")
        pids = [replica.pid for name in names for replica in service.replicas(name)]
        with Load(service) as load:
            load.wait_for(5)
            deploy(HeadSearch={"version": first}, QueryApi={"max_k": 5})
            load.wait_until(lambda: load.versions[first] > 0)
            load.wait_for(5)
        assert load.faults == []
        assert set(load.statuses) == {200}
        assert service.search()["version"] == first
        assert service.post("/v1/search", {"query": "x", "k": 6}).status_code == 422
        deploy(HeadSearch={"version": None}, QueryApi={"max_k": 100})
        assert service.search(k=6)["version"] == second
        assert [replica.pid for name in names for replica in service.replicas(name)] == pids
        assert process.stdin is not None
        process.stdin.close()
        family = family_of(process)
        assert process.wait(120) == 0
        assert [member.name() for member in family if member.is_running()] == []
    finally:
        end(process, family_of(process))
