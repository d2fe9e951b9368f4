"""`mrag serve` on one machine: one process, without Ray."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.open_ports import listening, off_loopback
from tests.support.project_folder import Undisturbed, end, family_of, run, start
from tests.support.served_project import QUERY, Service, free_port, serving

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def service(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One running service for the whole module, as `serve.backend = "auto"` chooses it."""
    log = tmp_path_factory.mktemp("service") / "serve"
    with serving(project, log, backend="auto") as running:
        yield running


def test_it_answers_from_one_process(service: Service) -> None:
    """No Ray, no proxy: nothing that could die beside it."""
    answer = service.search(k=3)
    assert answer["version"] == service.ready["version"]
    assert len(answer["hits"]) == 3
    assert service.get("/readyz").status_code == 200
    names = [one.name() for one in family_of(service.process)]
    assert [name for name in names if "ray" in name or "haproxy" in name] == []


def test_it_listens_on_loopback_only(service: Service) -> None:
    """Its own port, and Milvus Lite's."""
    sockets = list(listening([psutil.Process(service.process.pid), *family_of(service.process)]))
    assert service.url in [f"http://{ip}:{port}" for _, ip, port in sockets]
    assert off_loopback(sockets) == []


def test_each_request_is_a_line_of_standard_output(service: Service) -> None:
    """Where a container's log driver reads; its id is the response's."""
    answered = service.post("/v1/search", {"query": QUERY})
    assert service.line_of(answered)["status"] == 200
    lines = service.log.with_suffix(".out").read_text("utf-8").splitlines()
    assert all(json.loads(line) for line in lines)


def test_mrag_search_asks_it(service: Service, project: Path, tmp_path: Path) -> None:
    """A Lite database has one owner, and that is the service."""
    ended = run("search", QUERY, "-k", "3", "--json", cwd=project, log=tmp_path / "search")
    assert (ended.code, ended.err) == (0, "")
    found = [hit["document_id"] for hit in ended.json()[0]["hits"]]
    assert found == [hit["document_id"] for hit in service.search(k=3)["hits"]]


def test_half_a_request_does_not_hold_its_connection(service: Service) -> None:
    """As HAProxy cuts it off before replicas."""
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as opened:
        opened.sendall(b"POST /v1/search HTTP/1.1\r\nHost: ")
        started = time.monotonic()
        with suppress(ConnectionError):
            assert opened.recv(100) == b""
        assert time.monotonic() - started < 40


def test_sigterm_leaves_nothing(service: Service, project: Path, tmp_path: Path) -> None:
    """Exit 0, a free port, a database that can be opened. Must be the last of this service."""
    code, running = service.stop()
    assert (code, running) == (0, [])
    ended = run("search", QUERY, "--json", cwd=project, log=tmp_path / "after")
    assert ended.code == 0, ended.err
    assert service.log.with_suffix(".err").read_text() == ""


@pytest.mark.long
def test_a_service_told_to_stop_leaves_in_order(project: Path, tmp_path: Path) -> None:
    """It says so, answers for `drain_s` longer, ends what it has begun, and takes nothing more."""
    batch = {"searches": [{"query": f"{QUERY} {number}" * 40} for number in range(16)]}
    settings = ("-s", "serve.drain_s=5", "-s", "serve.timeout_s=60")
    with serving(project, tmp_path / "serve", *settings, backend="process") as service:
        assert service.get("/readyz").status_code == 200
        with ThreadPoolExecutor(4) as threads:
            service.process.send_signal(signal.SIGTERM)
            told_at = time.monotonic()
            while (ready := service.get("/readyz")).status_code == 200:
                assert time.monotonic() < told_at + 5
                time.sleep(0.02)
            assert "about to stop" in ready.json()["detail"]
            assert service.search(k=3)["hits"]
            # Begun while it leaves, a second before it listens no more.
            time.sleep(max(0.0, told_at + 4 - time.monotonic()))
            begun = [threads.submit(service.post, "/v1/search/batch", batch) for _ in range(4)]
            while service.process.poll() is None:
                try:
                    service.get("/livez")
                except httpx.TransportError:
                    break
                time.sleep(0.02)
            assert [len(one.result().json()["answers"]) for one in begun] == [16] * 4
        assert service.process.wait(60) == 0
    assert service.log.with_suffix(".err").read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 3.0, 8.0])
def test_ctrl_c_ends_it_at_any_moment(
    undisturbed: Undisturbed, tmp_path: Path, seconds: float
) -> None:
    """While it imports, loads or serves."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    log = tmp_path / "serve"
    process = start("serve", "--port", str(free_port()), cwd=project, log=log)
    try:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    finally:
        end(process, family_of(process))
    assert "Traceback" not in log.with_suffix(".err").read_text()
