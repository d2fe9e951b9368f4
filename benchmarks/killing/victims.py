"""The processes that are killed, and how to find them among what a command has started."""

from __future__ import annotations

import random
from collections.abc import Iterable

import psutil

DRIVER = "driver"
RECORDER = "recorder of the run"
WORKER = "Ray worker"
AT_WORK = "Ray worker at an item"  # as a worker is found; the victim is a worker
NODE = "node of the Ray cluster"
RAYLET = "raylet"
GCS = "GCS"
MILVUS = "Milvus server"
PREFECT = "Prefect server"
HAPROXY = "HAProxy"
MANAGER = "HAProxy's manager"  # Serve's actor that starts it
API, ENCODER, SEARCH = "replica: API", "replica: encoder", "replica: search"
ONE_PROCESS = "one-process service"
SERVICE = "driver of a service on Ray"

# Where Ray runs: in each of these phases workers are up, in those of ON_LITE whatever the index is.
RAY_PHASES = (
    *("embed", "reconcile", "compare", "store"),
    *("load", "verify", "export", "audit", "repair", "check", "apply"),
)
ON_LITE = RAY_PHASES[:4]
ON_RAY = frozenset({WORKER, RAYLET, GCS})

# Words of the command line, all of which are in it.
_WORDS = {
    RECORDER: ("mrag_pipeline.flows.record_process",),
    WORKER: ("ray::", "WorkActor"),
    AT_WORK: ("ray::WorkActor.do",),
    RAYLET: ("raylet/raylet",),
    GCS: ("gcs_server",),
    HAPROXY: ("haproxy", "-f"),
    MANAGER: ("ray::HAProxyManager",),
    API: ("ray::ServeReplica:mrag:QueryApi",),
    ENCODER: ("ray::ServeReplica:mrag:QueryEncoder",),
    SEARCH: ("ray::ServeReplica:mrag:HeadSearch",),
}


def found(name: str, family: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes of the family that have this name here."""
    words = _WORDS[name]
    matching = []
    for one in family:
        try:
            line = " ".join(one.cmdline())
            if all(word in line for word in words) and one.status() != psutil.STATUS_ZOMBIE:
                matching.append(one)
        except psutil.Error:
            continue
    return matching


def kill_one(name: str, family: Iterable[psutil.Process], chance: random.Random) -> bool:
    """SIGKILL to one of them; False if there is none."""
    matching = found(name, family)
    if not matching:
        return False
    try:
        chance.choice(matching).kill()
    except psutil.NoSuchProcess:
        return False
    return True
