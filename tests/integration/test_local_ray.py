"""A Ray of this machine's own works for its user alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

# Starts one in a process of its own, where the agent's port that Ray gives every Ray is taken, and
# asks it for its nodes from each of these environments.
HOST = """
import contextlib, os, socket, subprocess, sys
import ray
from ray._private import ray_constants, worker
from mrag_pipeline.runtime.cluster import start_local

taken = socket.socket()
with contextlib.suppress(OSError):  # another Ray has it
    taken.bind(("127.0.0.1", ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT))
start_local(num_cpus=1)
print(worker._global_node.dashboard_agent_listen_port > 0, flush=True)
address = ray.get_runtime_context().gcs_address
for given in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "f" * 64}, {}):
    others = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    environment = {**others, "RAY_AUTH_MODE": "token", **given}
    subprocess.run([sys.executable, "-c", sys.argv[1], address], env=environment, check=True)
"""
GUEST = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError

try:
    print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=20)), flush=True)
except AuthenticationError:
    print("refused", flush=True)
"""


@pytest.mark.parametrize(
    "mode", [None, pytest.param("disabled", marks=pytest.mark.long)], ids=["no mode", "disabled"]
)
def test_a_process_without_the_token_is_refused(mode: str | None) -> None:
    """Without one, and with another one; the user's own is let in.

    Also where the shell says that no Ray is to ask for one. Another Ray's port is not waited for.
    """
    others = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", HOST, GUEST],
        env=others | ({} if mode is None else {"RAY_AUTH_MODE": mode}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "refused", "refused", "1"]


# A task's process ends under it; Ray tells its driver of it in a thread.
LOSING = """
import os, threading, time
import ray
from mrag_pipeline.runtime import cluster

told = threading.Event()
logged = cluster.log.info
cluster.log.info = lambda *words: (logged(*words), told.set())

@ray.remote(max_retries=0)
def end():
    os._exit(1)

cluster.start_local()
try:
    ray.get(end.remote())
except ray.exceptions.WorkerCrashedError:
    print("lost", flush=True)
assert told.wait(60), "Ray told nothing"
cluster.disconnect_ray()
"""


@pytest.mark.long
def test_what_ray_reports_is_not_printed() -> None:
    """A command prints its result alone, JSON with --json, also if a worker was lost."""
    done = subprocess.run(
        [sys.executable, "-c", LOSING], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "lost\n"
    assert "A worker died" not in done.stderr


# As Ray starts its parts: a fork, a moment in the child, another program.
FORKING = """
import os, subprocess, sys, time
from mrag_pipeline import library_settings
library_settings.settle()
from pymilvus import MilvusClient

client = MilvusClient(sys.argv[1])
client.create_collection("one", dimension=4)

def alone():
    time.sleep(0.05)
    assert os.listdir("/proc/self/task") == [str(os.getpid())]

sys.exit(subprocess.Popen(["true"], preexec_fn=alone).wait())
"""


def test_grpc_starts_no_thread_in_what_ray_is_about_to_start(tmp_path: Path) -> None:
    """Its threads abort the child at times, and a part of Ray is missing: docs/decisions/0139."""
    given = {k: v for k, v in os.environ.items() if k != "GRPC_ENABLE_FORK_SUPPORT"}
    command = [sys.executable, "-c", FORKING, str(tmp_path / "index.db")]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
