"""Somebody who types what a page of the documentation says, block by block."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from mrag_pipeline.processes import alive_after
from tests.support.project_folder import ROOT
from tests.support.served_project import free_port


class Reader:
    """Types a block's lines into one shell in a folder of its own; a service gets a free port."""

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
                for process in alive_after(60, [psutil.Process(pid), *family]):
                    process.kill()
