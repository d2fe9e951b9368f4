"""A command that is killed while Ray workers do a phase of it; the same command ends the work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mrag_pipeline.processes import alive_after
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.milvus_server import Server, milvus_server
from tests.support.project_folder import (
    GOOD,
    end,
    family_of,
    run,
    start,
    wait_for,
    write_corpus,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PHASES = ("embed", "reconcile", "load", "verify")  # each has Ray workers of its own


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as made:
        yield made


@pytest.fixture
def project(server: Server, minilm: EncoderSpec, tmp_path: Path) -> Path:
    """A corpus, and a config by which every phase after embedding is done by workers."""
    folder = tmp_path / "project"
    folder.mkdir()
    write_corpus(folder / "corpus")
    (folder / "mrag.toml").write_text(
        f'index = "i{os.getpid()}_{tmp_path.name[-12:].strip("_")}"\n[corpus]\nuri = "corpus"\n'
        f'[encoder]\nmodel = "{minilm.model}"\n[milvus]\nuri = "{server.uri}"\nrange_mb = 0.05\n'
        '[workers]\npool = "ray"\ncount = 1\ndevice = "cpu"\nphase_mb = 0\n'
        "[sharding]\nshard_mb = 0.002\n"
    )
    return folder


def workers_of(process: psutil.Process | object) -> set[int]:
    """The process ids of the command's workers that are up."""
    found = set()
    for one in family_of(process):  # type: ignore[arg-type]
        try:
            if "WorkActor" in " ".join(one.cmdline()):
                found.add(one.pid)
        except psutil.Error:
            continue
    return found


def in_phase(process: object, number: int) -> Callable[[], bool]:
    """Whether the workers of the phase with this number, from 0, are up."""
    crews: list[set[int]] = []

    def happened() -> bool:
        now = workers_of(process)
        if now and not (crews and crews[-1] & now):
            crews.append(now)
        return len(crews) > number

    return happened


@pytest.mark.parametrize(
    ("phase", "blow"),
    [*((phase, signal.SIGKILL) for phase in PHASES[1:]), ("load", signal.SIGINT)],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_same_command_ends_it(
    project: Path, tmp_path: Path, prefect: str, phase: str, blow: signal.Signals
) -> None:
    """No worker of the killed one lives on; every document is there once; audit finds no fault."""
    family: list[psutil.Process] = []
    process = start("ingest", cwd=project, log=tmp_path / "killed", prefect=prefect)
    try:
        wait_for(in_phase(process, PHASES.index(phase)), process, 0.05)
        family = family_of(process)
        workers = [psutil.Process(pid) for pid in workers_of(process)]
        process.send_signal(blow)
        code = process.wait(60)
        assert alive_after(60, workers) == []
    finally:
        end(process, family)
    assert code == (130 if blow is signal.SIGINT else -9)
    assert "Traceback" not in (tmp_path / "killed.err").read_text()
    again = run("ingest", "--json", cwd=project, log=tmp_path / "again", prefect=prefect)
    assert again.code == 0, again.err
    assert again.json()["documents"] == GOOD
    audited = run("audit", cwd=project, log=tmp_path / "audit")
    assert audited.code == 0, audited.out + audited.err
