"""`mrag serve` on a laptop's Ray: one service for most tests, then SIGTERM."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from mrag_pipeline.processes import alive_after
from tests.support.broken_service import sitecustomize
from tests.support.open_ports import listening, off_loopback
from tests.support.project_folder import (
    GOOD,
    ROOT,
    TIMEOUT_S,
    Mrag,
    Undisturbed,
    a_text,
    end,
    family_of,
    run,
    start,
)
from tests.support.served_project import QUERY, Service, free_port, serving

pytestmark = pytest.mark.timeout(1800)

STRATEGIES = ("aspect", "mrag")


@dataclass(frozen=True, slots=True)
class Laptop:
    """A project, the answers of `mrag search` on it, and the service that now owns it."""

    project: Path
    searched: dict[str, dict[str, Any]]  # by strategy
    service: Service


# Its tests are long: without replicas, `mrag serve` is one process (test_serve_one_process.py).
@pytest.fixture(scope="module", params=[pytest.param("ray", marks=pytest.mark.long)])
def laptop(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """One running service for the whole module."""
    folder = tmp_path_factory.mktemp("laptop")
    searched = {}
    for strategy in STRATEGIES:
        ended = run(
            *("search", QUERY, "-k", "5", "--strategy", strategy, "--json"),
            cwd=project,
            log=folder / strategy,
        )
        assert ended.code == 0, ended.err
        searched[strategy] = ended.json()[0]
    with serving(project, folder / "serve") as service:
        yield Laptop(project, searched, service)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_answers_as_mrag_search_does(laptop: Laptop, strategy: str) -> None:
    """The same documents, passages, windows and votes."""
    answer = laptop.service.search(k=5, strategy=strategy)
    searched = laptop.searched[strategy]
    assert answer["version"] == searched["version"] == laptop.service.ready["version"]
    assert answer["voters"] == searched["voters"]
    assert [window["text"] for window in answer["windows"]] == searched["windows"]
    hits, expected = answer["hits"], searched["hits"]
    assert [hit["document_id"] for hit in hits] == [hit["document_id"] for hit in expected]
    assert [hit["chunk_id"] for hit in hits] == [str(hit["chunk_id"]) for hit in expected]
    for hit, other in zip(hits, expected, strict=True):
        assert hit["vote"] == pytest.approx(other["vote"])
        assert hit["votes_by_voter"] == pytest.approx(other["votes_by_voter"])


def test_mrag_search_asks_the_running_service(laptop: Laptop, tmp_path: Path) -> None:
    """The same output as of its own process, which a Lite database would refuse meanwhile."""
    arguments = ("search", QUERY, "-k", "5", "--strategy", "mrag", "--json")
    ended = run(*arguments, cwd=laptop.project, log=tmp_path / "asked")
    assert (ended.code, ended.err) == (0, "")
    [asked], searched = ended.json(), laptop.searched["mrag"]
    assert [hit["chunk_id"] for hit in asked["hits"]] == [
        hit["chunk_id"] for hit in searched["hits"]
    ]
    assert [hit.keys() for hit in asked["hits"]] == [hit.keys() for hit in searched["hits"]]
    assert asked.keys() == searched.keys()
    assert asked["num_searches"] == searched["num_searches"]
    here = run(*arguments, "--here", cwd=laptop.project, log=tmp_path / "here")
    assert here.code == 5
    assert "open in another process" in here.err


def test_probes_index_page_and_metrics_answer(laptop: Laptop) -> None:
    """All of them through the proxy."""
    service = laptop.service
    version = service.ready["version"]
    assert service.get("/livez").status_code == 200
    assert service.get("/readyz").json() == {"status": "ready", "version": version}
    state = service.get("/v1/index").json()
    assert (state["version"], state["num_documents"]) == (version, GOOD)
    assert "text/html" in service.get("/").headers["content-type"]
    assert "mrag_" in service.get("/metrics").text


def test_a_passage_by_its_number(laptop: Laptop) -> None:
    """The chunk of a hit can be fetched by its id; an unknown id is a problem."""
    service = laptop.service
    hit = service.search(k=1)["hits"][0]
    chunk = service.get(f"/v1/chunks/{hit['chunk_id']}").json()
    assert chunk == {key: hit[key] for key in chunk}
    missing = service.get("/v1/chunks/1")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"


def test_an_invalid_request_is_a_problem(laptop: Laptop) -> None:
    """Whether the API or the encoder finds it invalid."""
    for body in ({"query": "  "}, {"query": "x", "strategy": "aspcet"}, {"query": "x", "k": 0}):
        answer = laptop.service.post("/v1/search", body)
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_request_out_of_time_is_answered_with_504(laptop: Laptop) -> None:
    """The service goes on answering."""
    searches = [{"query": f"{a_text(n)} {QUERY}", "timeout_s": 0.01} for n in range(16)]
    answer = laptop.service.post("/v1/search/batch", {"searches": searches})
    assert answer.status_code == 504, answer.text
    assert laptop.service.search()["hits"]


def test_each_request_is_a_line_of_standard_output(laptop: Laptop) -> None:
    """Where a container's log driver reads, as of a service in one process.

    Its id is that of the response's header and, if it is a problem, of its body.
    """
    service = laptop.service
    answered = service.post("/v1/search", {"query": QUERY})
    line = service.line_of(answered)
    assert line.keys() >= {"time", "ms", "stage_ms", "version"}
    assert (line["event"], line["route"], line["status"]) == ("request", "/v1/search", 200)
    for given in ("mine-7", "<b> odd", "a" * 200):
        headers = {"X-Request-ID": given}
        refused = httpx.get(f"{service.url}/v1/chunks/1", headers=headers, timeout=60)
        [told] = refused.headers.get_list("x-request-id")
        assert told == refused.json()["request_id"] == service.line_of(refused)["request_id"]
        assert (told == given) == (given == "mine-7")
    out = service.log.with_suffix(".out").read_text("utf-8").splitlines()
    assert [json.loads(line)["event"] for line in out][:2] == ["ready", "request"]


def test_concurrent_requests_get_their_own_answers(laptop: Laptop) -> None:
    """Encoder and search batch them; each answer has the windows of its own query."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(number: int) -> tuple[int, str]:
        answer = laptop.service.search(f"In year {1800 + number} a thing stood there", k=1)
        return number, answer["windows"][0]["text"]

    with ThreadPoolExecutor(8) as callers:
        for number, text in callers.map(ask, range(24)):
            assert str(1800 + number) in text


def test_held_connections_do_not_keep_others_out(laptop: Laptop) -> None:
    """One address holds more than it may, each with half a request; another is answered."""
    port = int(urlsplit(laptop.service.url).port or 0)
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4_096), most))
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(1_200)]
    try:
        for one in held:
            with suppress(OSError):  # those above the limit are closed at once
                one.sendall(b"POST /v1/search HTTP/1.1\r\nHost: a\r\nContent-Le")
        other = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=other, timeout=20) as client:
            url = f"http://127.0.0.1:{port}/v1/search"
            assert client.post(url, json={"query": QUERY}).status_code == 200
        held[0].settimeout(30)
        assert held[0].recv(100).startswith(b"HTTP/1.1 408")  # it is not waited for
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))


def test_a_second_service_on_the_port_is_refused(laptop: Laptop, tmp_path: Path) -> None:
    """Exit 2 with the address, before the index is opened."""
    port = laptop.service.url.rpartition(":")[2]
    ended = run("serve", "--port", port, cwd=laptop.project, log=tmp_path / "second")
    assert ended.code == 2, ended.err
    assert f"127.0.0.1:{port}" in ended.err
    assert "Traceback" not in ended.err


def test_the_database_has_one_owner(laptop: Laptop, tmp_path: Path) -> None:
    """Other commands exit with 5 and say how to share it."""
    for command in (("status",), ("serve", "--port", str(free_port()))):
        ended = run(*command, cwd=laptop.project, log=tmp_path / command[0])
        assert ended.code == 5, ended.err
        assert "one owner at a time" in ended.err
        assert "milvus-lite server" in ended.err


def test_it_listens_on_loopback_only(laptop: Laptop) -> None:
    """Every port of every process: the service's, its proxy's, and Ray's."""
    process = laptop.service.process
    sockets = list(listening([psutil.Process(process.pid), *family_of(process)]))
    assert {"raylet", "gcs_server"} <= {name for name, _, _ in sockets}
    assert off_loopback(sockets) == []


def test_its_replicas_have_the_priority_of_the_command(laptop: Laptop) -> None:
    """Ray starts workers at nice 15 unless it is configured."""
    own = psutil.Process(laptop.service.process.pid).nice()
    for name in ("QueryApi", "QueryEncoder", "HeadSearch"):
        assert [replica.nice() for replica in laptop.service.replicas(name)] == [own]


def test_a_replica_in_place_of_a_killed_one_logs_to_standard_output(laptop: Laptop) -> None:
    """Each request that is answered is there, and the killed one's last."""
    service = laptop.service
    last = service.get("/v1/index")
    [replica] = service.replicas("QueryApi")
    replica.kill()
    assert service.line_of(last)["status"] == 200
    until = time.monotonic() + TIMEOUT_S
    while (answered := asked(service)) is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert service.line_of(answered)["route"] == "/v1/index"


def asked(service: Service) -> httpx.Response | None:
    """The response of the service; None while it has none."""
    try:
        answered = service.get("/v1/index")
    except httpx.TransportError:
        return None
    return answered if answered.status_code == 200 else None


def test_sigterm_leaves_nothing(laptop: Laptop, tmp_path: Path) -> None:
    """Exit 0, no process, a free port, a database that can be opened. Must be the last test."""
    code, running = laptop.service.stop()
    assert (code, running) == (0, [])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(laptop.service.url.rpartition(":")[2]))) != 0
    ended = run("search", QUERY, "--json", cwd=laptop.project, log=tmp_path / "after")
    assert ended.code == 0, ended.err
    assert "Traceback" not in laptop.service.log.with_suffix(".err").read_text()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["process", "ray"])
def test_a_500_leaves_its_stack_on_standard_error(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Under the request's id, which the caller is told and the request's line has."""
    broken = Path(sitecustomize.__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{broken}:{ROOT}")
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    with serving(project, tmp_path / "serve", backend=backend) as service:
        assert service.search()["hits"]
        failed = service.post("/v1/search", {"query": sitecustomize.QUESTION})
        assert failed.status_code == 500
        assert "ZeroDivisionError" not in failed.text
        line = service.line_of(failed)
        assert (line["status"], line["error"] != "") == (500, True)
        begins = f"request_failed request_id={failed.json()['request_id']}"
        until = time.monotonic() + 30
        log = service.log.with_suffix(".err")
        # On Ray the replica that fails may tell its stack first, without the request's id.
        while (
            "ZeroDivisionError: division by zero" not in log.read_text("utf-8").partition(begins)[2]
        ):
            assert time.monotonic() < until, log.read_text("utf-8")
            time.sleep(0.05)
        told = log.read_text("utf-8")
        assert f"{begins}\nTraceback (most recent call last):\n  File" in told
        assert "\\n" not in told
        assert service.stop() == (0, [])


# ------------------------------------------------------------------ refused before it starts
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--index", "nowhere"], 5, "mrag ingest"),
        (["--host", "0.0.0.0"], 2, "API keys"),
        (["--host", "192.0.2.1", "-s", "serve.keys_env=KEYS"], 2, "API keys"),
        (["-s", "serve.search_replicas=2"], 2, "only one process"),
        (["-s", "encoder.model=./nowhere"], 4, "nowhere"),
        (["-s", "serve.max_kk=2"], 2, "serve.max_k"),
    ],
)
def test_an_invalid_setup_is_refused(
    undisturbed: Undisturbed,
    mrag: Mrag,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """Before Ray starts: one message, and the documented exit code."""
    monkeypatch.chdir(undisturbed.project)
    said = mrag("serve", "--port", str(free_port()), *arguments)
    assert said.code == code, said.err
    assert message in said.err


def test_another_encoder_is_refused(
    undisturbed: Undisturbed,
    mrag: Mrag,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    minilm: Any,
) -> None:
    """Exit 6: its vectors would not match the version's."""
    from mrag_pipeline.encoder.model_source import find_model

    model = tmp_path / "model"
    shutil.copytree(find_model(minilm).root, model)
    config = model / "config.json"
    config.write_text(config.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    monkeypatch.chdir(undisturbed.project)
    said = mrag("serve", "--port", str(free_port()), "-s", f"encoder.model={model}")
    assert said.code == 6, said.err
    assert "did not build the live version" in said.err


@pytest.mark.slow
def test_ctrl_c_while_it_starts_leaves_nothing(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Interrupted at three moments of the start."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    for seconds in (2.0, 6.0, 12.0):
        log = tmp_path / f"after-{seconds:.0f}"
        ray = ("-s", "serve.backend=ray")
        process = start("serve", "--port", str(free_port()), *ray, cwd=project, log=log)
        time.sleep(seconds)
        family = family_of(process)
        watches = [member for member in family if _is_watch(member)]
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(120) in (0, 130)
            others = [member for member in family if member not in watches]
            assert [member.name() for member in alive_after(1, others)] == []
            # The process that ends orphans checks every few seconds, and ends last.
            assert alive_after(15, watches) == []
        finally:
            end(process, family)
        assert "Traceback" not in log.with_suffix(".err").read_text()


def _is_watch(process: psutil.Process) -> bool:
    try:
        return any(part.endswith("mrag_pipeline/processes.py") for part in process.cmdline())
    except psutil.Error:
        return False


@pytest.mark.slow
def test_a_killed_service_leaves_no_proxy(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """After kill -9, Ray's processes end because their driver is gone, and HAProxy with them."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    with serving(project, tmp_path / "serve") as service:
        family = family_of(service.process)
        service.process.kill()
        service.process.wait()
        until = time.monotonic() + 180  # Ray's agents check for their raylet every few seconds
        while any(member.is_running() for member in family) and time.monotonic() < until:
            time.sleep(0.2)
        assert [member.name() for member in family if member.is_running()] == []


@pytest.mark.slow
def test_help_shows_examples(tmp_path: Path) -> None:
    """`mrag serve --help` ends with commands to copy."""
    help_text = subprocess.run(
        [sys.executable, "-m", "mrag_pipeline.cli", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "mrag serve -c mrag.toml" in help_text
