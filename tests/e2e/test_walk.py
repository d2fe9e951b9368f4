"""Runs the commands of deploy/README.md in order: a laptop, then one server.

With a real Milvus server with users, a real Prefect server and worker, Ray and MiniLM.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from pymilvus import MilvusClient

from mrag_pipeline.config import merged
from mrag_pipeline.processes import alive_after
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.milvus_server import milvus_server
from tests.support.project_folder import ROOT, THINGS, a_text
from tests.support.served_project import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

README = (ROOT / "deploy" / "README.md").read_text("utf-8")
LINE_S = 400


def walk(heading: str, number: int) -> list[str]:
    """The commands of a section's shell block, without their comments."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)[number]
    lines = [re.split(r"\s+#\s", line)[0].strip() for line in block.splitlines()]
    return [line for line in lines if line]


LAPTOP = walk("1. A laptop", 0)
SERVER = walk("2. One server", 1)
MOVING = walk("2. One server", 2)


class Shell:
    """Runs commands one after the other; keeps servers and commands ending in & running."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
            **environment,
        }
        self._running: list[subprocess.Popen[bytes]] = []
        self.log = folder / "shell.log"

    def run(self, line: str) -> str:
        """Runs a line and returns what it prints; exported variables stay set."""
        if line.startswith("export "):
            for name, value in re.findall(r"(\w+)=(\S+)", line):
                self.environment[name] = value.replace("$PWD", str(self._folder))
            return ""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self._folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def start(self, line: str, ready: Callable[[], bool]) -> None:
        """Starts a line that keeps running; returns once it is ready."""
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line.removesuffix('&')}"],
                cwd=self._folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running.append(process)
        until = time.monotonic() + LINE_S
        while not ready():
            assert process.poll() is None, f"{line}\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < until, f"{line}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.5)

    def stop(self) -> None:
        """Ends what was started, the last first."""
        while self._running:
            process = self._running.pop()
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for survivor in alive_after(15, family):
                survivor.kill()


@pytest.fixture
def laptop(tmp_path: Path, minilm: EncoderSpec) -> Iterator[Shell]:
    """A shell in a folder with a checkout's deploy and flows, and some texts."""
    yield from _shell(tmp_path / "laptop", minilm)


@pytest.fixture
def server(tmp_path: Path, minilm: EncoderSpec) -> Iterator[Shell]:
    """A shell in another such folder, which stands for the server."""
    yield from _shell(tmp_path / "server", minilm)


def _shell(folder: Path, minilm: EncoderSpec) -> Iterator[Shell]:
    (folder / "documents").mkdir(parents=True)
    for name in ("deploy", "flows", "mrag_pipeline"):
        (folder / name).symlink_to(ROOT / name)
    for number, thing in enumerate(THINGS):
        (folder / "documents" / f"{thing}.txt").write_text(a_text(number))
    shell = Shell(folder, MRAG_ENCODER=minilm.model)
    try:
        yield shell
    finally:
        shell.stop()


def answers(url: str) -> Callable[[], bool]:
    def is_ready() -> bool:
        try:
            return httpx.get(url, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    return is_ready


def configured(folder: Path, **settings: dict[str, object]) -> None:
    """Adapts mrag.toml to the test: a local model, free ports, the test's own addresses."""
    file = folder / "mrag.toml"
    values = merged(tomllib.loads(file.read_text()), settings)
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in values.items() if type(value) is not dict
    ]
    for section, table in values.items():
        if isinstance(table, dict):
            lines += [f"[{section}]", *(f"{key} = {json.dumps(v)}" for key, v in table.items())]
    file.write_text("\n".join(lines) + "\n")


def test_from_a_laptop_to_one_server(
    laptop: Shell, server: Shell, tmp_path: Path, minilm: EncoderSpec
) -> None:
    """Every line works as written, and the moved index gives the same answer."""
    here, there = tmp_path / "laptop", tmp_path / "server"
    serve = LAPTOP.pop()
    assert serve == "mrag serve"
    answer = ""
    for line in LAPTOP:
        output = laptop.run(line)
        if line.startswith("cp "):
            configured(here, encoder={"model": minilm.model}, serve={"port": free_port()})
        if line.startswith("mrag search"):
            answer = output
    assert "txt" in answer
    laptop.run(MOVING[0])

    port, api = free_port(), free_port()
    (there / "mrag.toml").write_text((ROOT / "deploy" / "config" / "one-server.toml").read_text())
    with milvus_server(tmp_path / "milvus", authorization_enabled=True) as milvus:
        client = MilvusClient(milvus.uri, token="root:Milvus")
        client.create_user("mrag", "s3cret-word")
        client.grant_role("mrag", "admin")
        client.close()
        configured(
            there,
            encoder={"model": minilm.model},
            corpus={"uri": "documents"},
            staging={"uri": ".mrag/staging"},
            milvus={"uri": milvus.uri, "index_type": "HNSW"},
            serve={"port": port, "encoder_replicas": 1, "max_encoder_replicas": 1},
        )
        server.environment |= {
            "PREFECT_HOME": str(there / "prefect"),
            "PREFECT_SERVER_API_PORT": str(api),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        url = f"http://127.0.0.1:{port}"
        for line in SERVER:
            line = line.replace("user:password", "mrag:s3cret-word").replace(":4200", f":{api}")
            if line.startswith("prefect server"):
                server.start(line, answers(f"http://127.0.0.1:{api}/api/health"))
            elif line.endswith("&"):
                server.start(line, lambda: True)
            elif line.startswith("mrag serve"):
                server.start(line, answers(f"{url}/readyz"))
            else:
                server.run(line)
        body = {"query": "Who measures the engine? Who sells the lantern?", "k": 3}
        response = httpx.post(f"{url}/v1/search", json=body, timeout=60)
        assert response.status_code == 200, response.text
        assert len(response.json()["hits"]) == 3
        server.stop()

        # Into another index: the server has built the same version in its own.
        (there / "backup").symlink_to(here / "backup")
        moved = f"{MOVING[1]} -s index=moved"
        server.environment.pop("PREFECT_API_URL")
        server.run(moved)
        question = LAPTOP[-1].replace("mrag search", "mrag search -c mrag.toml -s index=moved")
        assert documents(server.run(question)) == documents(answer)


def documents(output: str) -> list[str]:
    """The documents of a printed answer, in order."""
    names = re.findall(r"(\w+)\.txt", output)
    assert names
    return names
