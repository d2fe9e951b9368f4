"""docs/tutorial.md, block by block, from an empty folder, with nothing but what it says.

A block whose first line says what it needs is run where the test has that: a chat model is played
by a server of the test's own; the registry and cron are left to `make release-check` and to people.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.chat_server import a_chat_server, completion, plain
from tests.support.project_folder import ROOT
from tests.support.served_project import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
LEFT_OUT = ("a package registry", "cron")


class Reader:
    """Types a block's lines into one shell in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
        }
        self.folder = folder
        self.started: list[int] = []

    def types(self, block: str, **replaced: str) -> str:
        """What the block's commands print; fails if one of them does."""
        lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        script = "set -e -o pipefail\n" + "\n".join(lines) + "\necho $! > last.pid\n"
        script = script.replace("localhost:8000", f"127.0.0.1:{self.port}")
        script = script.replace("mrag serve", f"exec mrag serve -s serve.port={self.port}")
        for old, new in replaced.items():
            script = script.replace(old, new)
        with (self.folder / "printed").open("w+b") as printed:
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=600,
            )
        said = (self.folder / "printed").read_text("utf-8")
        if (pid := (self.folder / "last.pid").read_text().strip()) and "serve" in block:
            self.started.append(int(pid))
        assert done.returncode == 0, f"{block}\n{said[-3000:]}"
        return said

    def stops(self) -> None:
        """Ends the service that it started last, and whatever that has started."""
        while self.started:
            pid = self.started.pop()
            if psutil.pid_exists(pid):
                family = psutil.Process(pid).children(recursive=True)
                os.kill(pid, signal.SIGTERM)
                _, alive = psutil.wait_procs([psutil.Process(pid), *family], timeout=60)
                for process in alive:
                    process.kill()


@pytest.fixture
def reader(tmp_path: Path, minilm: EncoderSpec) -> Iterator[Reader]:
    """Somebody with an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    reader = Reader(folder)
    yield reader
    reader.stops()


def needs(block: str) -> str:
    """What a block's first line says that it needs; "" for nothing."""
    first = block.splitlines()[0]
    return first.removeprefix("# needs: ") if first.startswith("# needs: ") else ""


def test_the_tutorial(reader: Reader) -> None:
    """Each block prints what the tutorial shows of it, in that order of the blocks."""
    started = time.monotonic()
    for block in BLOCKS:
        need = needs(block)
        if need.startswith(LEFT_OUT):
            continue
        if need.startswith("a chat model"):
            reader.stops()
            with a_chat_server(plain(200, completion("Call the town [1]."))) as (url, _):
                said = reader.types(block, **{"http://127.0.0.1:11434/v1": url})
        else:
            said = reader.types(block)
        words = " ".join(said.split())
        for line in block.splitlines():
            if not line.startswith(("$ ", "# ")):
                assert " ".join(line.split()) in words, f"{line!r} is not in\n{said[-3000:]}"
    print(f"the tutorial took {time.monotonic() - started:.0f} s")


def test_a_block_that_is_left_out_says_why() -> None:
    """And there are only these."""
    assert [needs(block) for block in BLOCKS if needs(block).startswith(LEFT_OUT)] == [
        "a package registry; MRAG is the folder of your copy of this project",
        "cron",
    ]
