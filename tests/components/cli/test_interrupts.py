"""A command that a signal ends is gone within seconds, whatever it is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.cli.interrupts import GRACE_S
from mrag_pipeline.config import Config

LONG_S = 50.0  # a grace that nothing here waits for, however busy the machine is
STUBBORN = """
import os, signal, time
from mrag_pipeline.cli import interrupts
interrupts.GRACE_S = {grace_s}
interrupts.heed()
for number in (signal.SIGINT, signal.SIGTERM):  # as a library that takes no notice
    signal.signal(number, lambda *_: os.write(1, b"heard\\n"))
print("up", flush=True)
while True:
    time.sleep(60)
"""
ORDERLY = """
import sys, time
from mrag_pipeline import cli
from mrag_pipeline.cli import flow_runs, interrupts
interrupts.GRACE_S = {grace_s}
def work(progress):
    print("up", flush=True)
    time.sleep(60)
def command():
    flow_runs.run_work(work, json=True)
cli.add_commands = lambda app, names: app.command()(command)
sys.argv = ["mrag", "command"]
cli.main()
"""


RECORDED = """
import signal, sys, time
from mrag_pipeline.cli import flow_runs, interrupts
from mrag_pipeline.config import Config
from mrag_pipeline.flows import engine
from mrag_pipeline.flows.run_log import logged
interrupts.GRACE_S = {grace_s}
engine.HAS_PREFECT = False  # nothing is recorded in its database
config = Config.parse({"index": "docs", "staging": {"uri": sys.argv[1]}})
def flow():
    with logged(config, "audit", {"audit": 1.5}):
        for number in (signal.SIGINT, signal.SIGTERM):  # as a library that takes no notice
            signal.signal(number, lambda *_: None)
        print("up", flush=True)
        while True:
            time.sleep(60)
flow_runs.run_flow(lambda: flow, json=True)
"""


def _started(script: str, grace_s: float, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script.replace("{grace_s}", str(grace_s)), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in its background has SIGINT ignored by all it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_does_not_stop_in_order_is_ended(number: signal.Signals) -> None:
    """After its grace, by the exit code of the signal, with how to go on."""
    process = _started(STUBBORN, GRACE_S)
    sent = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, "heard\n")
    assert time.monotonic() - sent >= GRACE_S
    assert "run the same command again" in err


def test_a_run_that_does_not_stop_in_order_is_listed_as_interrupted(tmp_path: Path) -> None:
    """Not as killed: its end is kept before the process is ended."""
    process = _started(RECORDED, 0.1, str(tmp_path))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    config = Config.parse({"index": "docs", "staging": {"uri": str(tmp_path)}})
    [run] = wiring.run_files(config).latest(9)
    assert (run.state, dict(run.seconds)) == ("interrupted", {"audit": 1.5})
    assert run.message.startswith("interrupted")


def test_a_second_signal_ends_at_once() -> None:
    """Without the grace."""
    process = _started(STUBBORN, LONG_S)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "heard\n"
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - sent < LONG_S


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_stops_in_order_is_not_waited_for(number: signal.Signals) -> None:
    """One message, no traceback."""
    process = _started(ORDERLY, LONG_S)
    sent = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert time.monotonic() - sent < LONG_S
    assert "run the same command again" in err
    assert "Traceback" not in err
