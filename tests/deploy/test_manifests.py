"""What `deploy/` holds is what the tools that read it accept."""

from __future__ import annotations

import copy
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from mrag_pipeline.config import Config
from tests.support.kuberay import SCHEMAS

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = "1.31"
RAY_KINDS = {
    "RayCluster": ("spec",),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayService": ("spec", "rayClusterConfig"),
}


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            yield f"{path.stem}/{document['kind']}/{document['metadata']['name']}", document


MANIFESTS = dict(manifests())
RAY = {name: one for name, one in MANIFESTS.items() if one["kind"] in RAY_KINDS}


def groups(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The head's group and the workers' of a KubeRay resource."""
    cluster = manifest
    for key in RAY_KINDS[manifest["kind"]]:
        cluster = cluster[key]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates in a manifest."""
    if manifest["kind"] in RAY_KINDS:
        return [group["template"] for group in groups(manifest)]
    template = manifest.get("spec", {}).get("template")
    return [template] if template else []


@pytest.mark.parametrize("name", MANIFESTS)
def test_kubernetes_takes_each_manifest(name: str) -> None:
    """Strictly by Kubernetes's own schemas; of KubeRay's resources, the pods in them."""
    manifest = MANIFESTS[name]
    if manifest["kind"] not in RAY_KINDS:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    for template in pods(manifest):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", RAY)
def test_kuberay_knows_every_field(name: str) -> None:
    """A field that its API does not have would be dropped without a word."""
    jsonschema.validate(RAY[name], SCHEMAS[RAY[name]["kind"]])


def test_a_misspelt_field_would_be_seen() -> None:
    """The schemas refuse what they do not know, at every depth."""
    for manifest in RAY.values():
        broken = copy.deepcopy(manifest)
        groups(broken)[1]["minReplica"] = 1
        with pytest.raises(jsonschema.ValidationError, match="minReplica"):
            jsonschema.validate(broken, SCHEMAS[manifest["kind"]])


@pytest.mark.parametrize("name", RAY)
def test_a_ray_cluster_is_the_pinned_ray(name: str) -> None:
    """A head of another Ray than the image's does not start."""
    import ray

    cluster = RAY[name]
    for key in RAY_KINDS[cluster["kind"]]:
        cluster = cluster[key]
    assert cluster["rayVersion"] == ray.__version__
    for group in groups(RAY[name]):
        values = group["rayStartParams"].values()
        assert all(isinstance(value, str) for value in values), "KubeRay takes strings alone"


@pytest.mark.parametrize("name", [name for name, one in MANIFESTS.items() if pods(one)])
def test_pods_are_bound(name: str) -> None:
    """No root, no added rights, memory bounded, secrets by reference."""
    for template in pods(MANIFESTS[name]):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            for variable in container.get("env", []):
                secret = re.search("TOKEN|KEY|PASSWORD|SECRET", variable["name"])
                assert not (secret and variable.get("value"))


def test_the_ray_service_is_a_serve_config() -> None:
    """Serve takes it, and the application it names is there."""
    from ray.serve.schema import ServeDeploySchema

    (service,) = [one for one in RAY.values() if one["kind"] == "RayService"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    module, _, name = config.applications[0].import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    mounted = groups(service)[0]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert config.applications[0].args["config"].startswith(mounted[0]["mountPath"])


def test_compose_is_a_compose_file() -> None:
    """By the compose specification's schema."""
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_compose_publishes_on_loopback_and_asks_for_every_secret() -> None:
    """A secret has no default: it is asked for by name, and the example names it empty."""
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    composed = yaml.safe_load(text)
    for service in composed["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "compose.env.example").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert asked == {name for name, value in example.items() if not value}
    for name in re.findall(r"\$\{(\w+)", text):
        assert name in example or name.endswith("_IMAGE")


def test_the_dockerfile_has_no_fault() -> None:
    """By hadolint."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no build for this machine")
    ended = subprocess.run(
        [hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", sorted((DEPLOY / "config").glob("*.toml")), ids=lambda p: p.stem)
def test_the_example_configs_are_configs(path: Path) -> None:
    """Every key is one that exists, every value one that is taken."""
    config = Config.load(path)
    # An index that is not exact would never pass the check before publishing.
    assert config.milvus.index_type == "FLAT" or config.ingest.min_recall < 1


def test_milvus_is_one_version() -> None:
    """The compose file and the Helm values run the same server."""
    values = yaml.safe_load((DEPLOY / "milvus" / "values.yaml").read_text("utf-8"))
    tag = values["image"]["all"]["tag"]
    assert f"milvusdb/milvus:{tag}" in (DEPLOY / "compose.yaml").read_text("utf-8")
