"""`mrag serve` on a laptop: one start for all that is asked of it, then SIGTERM."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.project_folder import GOOD, Undisturbed, a_text, end, family_of, run, start
from tests.support.served_project import QUERY, Service, free_port, serving

pytestmark = pytest.mark.timeout(1800)

STRATEGIES = ("aspect", "mrag")


@dataclass(frozen=True, slots=True)
class Laptop:
    """A project with what `mrag search` answered on it, and the service that has it now."""

    project: Path
    searched: dict[str, dict[str, Any]]  # by strategy
    service: Service


@pytest.fixture(scope="module")
def project(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built project: a Lite database has one owner."""
    copy = tmp_path_factory.mktemp("serve") / "project"
    shutil.copytree(undisturbed.project, copy)
    return copy


@pytest.fixture(scope="module")
def laptop(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """One real service for the whole module."""
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
def test_its_answers_are_those_of_mrag_search(laptop: Laptop, strategy: str) -> None:
    """The same documents, passages, windows and votes."""
    told = laptop.service.search(k=5, strategy=strategy)
    searched = laptop.searched[strategy]
    assert told["version"] == searched["version"] == laptop.service.ready["version"]
    assert told["voters"] == searched["voters"]
    assert [window["text"] for window in told["windows"]] == searched["windows"]
    hits, expected = told["hits"], searched["hits"]
    assert [hit["document_id"] for hit in hits] == [hit["document_id"] for hit in expected]
    assert [hit["chunk_id"] for hit in hits] == [str(hit["chunk_id"]) for hit in expected]
    for hit, other in zip(hits, expected, strict=True):
        assert hit["vote"] == pytest.approx(other["vote"])
        assert hit["votes_by_voter"] == pytest.approx(other["votes_by_voter"])


def test_it_is_alive_and_ready_and_says_what_it_serves(laptop: Laptop) -> None:
    """The probes, the index, the page and the metrics, through the proxy."""
    service = laptop.service
    version = service.ready["version"]
    assert service.get("/livez").status_code == 200
    assert service.get("/readyz").json() == {"status": "ready", "version": version}
    state = service.get("/v1/index").json()
    assert (state["version"], state["num_documents"]) == (version, GOOD)
    assert "text/html" in service.get("/").headers["content-type"]
    assert "mrag_" in service.get("/metrics").text


def test_a_passage_by_its_number(laptop: Laptop) -> None:
    """As a hit of a search named it; a number that nobody has is a problem."""
    service = laptop.service
    hit = service.search(k=1)["hits"][0]
    told = service.get(f"/v1/chunks/{hit['chunk_id']}").json()
    assert told == {key: hit[key] for key in told}
    missing = service.get("/v1/chunks/1")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"


def test_what_cannot_be_asked_is_a_problem(laptop: Laptop) -> None:
    """From the API, and from the encoder's side of it."""
    for body in ({"query": "  "}, {"query": "x", "strategy": "aspcet"}, {"query": "x", "k": 0}):
        told = laptop.service.post("/v1/search", body)
        assert told.status_code == 422, told.text
        assert told.headers["content-type"] == "application/problem+json"


def test_a_time_that_is_too_short_is_told_as_such(laptop: Laptop) -> None:
    """504, and the service goes on."""
    searches = [{"query": f"{a_text(n)} {QUERY}", "timeout_s": 0.01} for n in range(16)]
    told = laptop.service.post("/v1/search/batch", {"searches": searches})
    assert told.status_code == 504, told.text
    assert laptop.service.search()["hits"]


def test_requests_at_once_are_each_answered_their_own(laptop: Laptop) -> None:
    """Batched together in encoder and search, told apart again."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(number: int) -> tuple[int, str]:
        told = laptop.service.search(f"In year {1800 + number} a thing stood there", k=1)
        return number, told["windows"][0]["text"]

    with ThreadPoolExecutor(8) as callers:
        for number, text in callers.map(ask, range(24)):
            assert str(1800 + number) in text


def test_a_second_service_is_told_who_has_the_port(laptop: Laptop, tmp_path: Path) -> None:
    """Exit 2, before the index is looked at."""
    port = laptop.service.url.rpartition(":")[2]
    ended = run("serve", "--port", port, cwd=laptop.project, log=tmp_path / "second")
    assert ended.code == 2, ended.err
    assert f"127.0.0.1:{port}" in ended.err
    assert "Traceback" not in ended.err


def test_the_database_has_one_owner(laptop: Laptop, tmp_path: Path) -> None:
    """Others are told so, and how to share it: exit 5."""
    for command in (("status",), ("serve", "--port", str(free_port()))):
        ended = run(*command, cwd=laptop.project, log=tmp_path / command[0])
        assert ended.code == 5, ended.err
        assert "one owner at a time" in ended.err
        assert "milvus-lite server" in ended.err


def test_only_this_machine_reaches_it(laptop: Laptop) -> None:
    """Every port that it or its proxy has opened to be asked over HTTP is on loopback."""
    open_to_all = []
    for one in family_of(laptop.service.process):
        if "haproxy" in one.name():
            open_to_all += [
                c.laddr for c in one.net_connections("tcp") if c.laddr and c.laddr[0] != "127.0.0.1"
            ]
    assert open_to_all == []


def test_its_parts_are_no_batch_jobs(laptop: Laptop) -> None:
    """As ready to run as the command itself: Ray's workers are at nice 15 unless told."""
    own = psutil.Process(laptop.service.process.pid).nice()
    for name in ("QueryApi", "QueryEncoder", "HeadSearch"):
        assert [one.nice() for one in laptop.service.replicas(name)] == [own]


def test_sigterm_leaves_nothing(laptop: Laptop, tmp_path: Path) -> None:
    """Exit 0, no process, a free port, a database that the next command opens. Last of all."""
    code, left = laptop.service.stop()
    assert (code, left) == (0, [])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(laptop.service.url.rpartition(":")[2]))) != 0
    ended = run("search", QUERY, "--json", cwd=laptop.project, log=tmp_path / "after")
    assert ended.code == 0, ended.err
    assert "Traceback" not in laptop.service.log.with_suffix(".err").read_text()


# ------------------------------------------------------------------ what is refused at once
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--index", "nowhere"], 5, "mrag ingest"),
        (["--host", "0.0.0.0"], 2, "API keys"),
        (["--host", "192.0.2.1", "-s", "serve.keys_env=KEYS"], 2, "API keys"),
        (["-s", "serve.search_replicas=2"], 2, "one owner"),
        (["-s", "encoder.model=./nowhere"], 4, "nowhere"),
        (["-s", "serve.max_kk=2"], 2, "serve.max_k"),
    ],
)
def test_what_cannot_be_served_is_said(
    undisturbed: Undisturbed, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    """Before Ray is started: one message, the exit code of its kind."""
    ended = run(
        *("serve", "--port", str(free_port()), *arguments),
        cwd=undisturbed.project,
        log=tmp_path / "serve",
    )
    assert ended.code == code, ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_another_encoder_is_refused(undisturbed: Undisturbed, tmp_path: Path, minilm: Any) -> None:
    """Exit 6: its vectors are not the version's."""
    from mrag_pipeline.encoder.model_source import find_model

    model = tmp_path / "model"
    shutil.copytree(find_model(minilm).root, model)
    config = model / "config.json"
    config.write_text(config.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    ended = run(
        *("serve", "--port", str(free_port()), "-s", f"encoder.model={model}"),
        cwd=undisturbed.project,
        log=tmp_path / "serve",
    )
    assert ended.code == 6, ended.err
    assert "did not build the live version" in ended.err


@pytest.mark.slow
def test_ctrl_c_while_it_starts_leaves_nothing(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """At a few moments between the first process and the last."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    for seconds in (2.0, 6.0, 12.0):
        log = tmp_path / f"after-{seconds:.0f}"
        process = start("serve", "--port", str(free_port()), cwd=project, log=log)
        time.sleep(seconds)
        family = family_of(process)
        watches = [one for one in family if _is_watch(one)]
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(120) in (0, 130)
            others = [one for one in family if one not in watches]
            _, alive = psutil.wait_procs(others, timeout=1)
            assert [one.name() for one in alive] == []
            # What watches over orphans looks now and then, and ends last.
            assert psutil.wait_procs(watches, timeout=15)[1] == []
        finally:
            end(process, family)
        assert "Traceback" not in log.with_suffix(".err").read_text()


def _is_watch(one: psutil.Process) -> bool:
    try:
        return any(part.endswith("orphans.py") for part in one.cmdline())
    except psutil.Error:
        return False


@pytest.mark.slow
def test_a_killed_service_leaves_no_proxy(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Kill -9: Ray's processes see that their driver has gone, and HAProxy its manager."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    with serving(project, tmp_path / "serve") as service:
        family = family_of(service.process)
        service.process.kill()
        service.process.wait()
        until = time.monotonic() + 180  # Ray's agents look for their raylet now and then
        while any(one.is_running() for one in family) and time.monotonic() < until:
            time.sleep(0.2)
        assert [one.name() for one in family if one.is_running()] == []


@pytest.mark.slow
def test_help_shows_how(tmp_path: Path) -> None:
    """With examples."""
    said = subprocess.run(
        [sys.executable, "-m", "mrag_pipeline.cli", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "mrag serve -c mrag.toml" in said
