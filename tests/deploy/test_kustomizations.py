"""What each overlay makes is what Kubernetes and KubeRay accept, and its parts meet each other."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from mrag_pipeline import __version__
from tests.deploy import prometheus_rule
from tests.support import deployed_versions
from tests.support.kustomized import (
    KUBERNETES,
    OVERLAYS,
    RAY_KINDS,
    Manifest,
    build,
    every_pod,
    groups,
    named,
    of_kind,
    overlay,
    pods,
    ray_cluster,
)
from tests.support.operator_schemas import SCHEMAS


@pytest.fixture(params=OVERLAYS)
def made(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    """The manifests of each overlay."""
    return overlay(request.param)


@pytest.fixture
def monitored(tmp_path: Path) -> tuple[Manifest, ...]:
    """The small overlay with its line for the Prometheus operator."""
    copied = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    file = copied / "overlays" / "one-gpu-node" / "kustomization.yaml"
    text = file.read_text()
    assert "\n# components:" in text
    file.write_text(text.replace("\n# components:", "\ncomponents:"))
    return build(file.parent)


def test_kubernetes_takes_each_manifest(made: tuple[Manifest, ...]) -> None:
    """Strictly, by the schemas of Kubernetes and of KubeRay's and Prometheus's operators."""
    for manifest in made:
        if manifest["kind"] in SCHEMAS:
            jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
        else:
            kubernetes_validate.validate(manifest, deployed_versions.KUBERNETES, strict=True)
        for template in pods(manifest):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
            kubernetes_validate.validate(pod, deployed_versions.KUBERNETES, strict=True)


def test_everything_is_in_one_namespace(made: tuple[Manifest, ...]) -> None:
    """The namespace itself excepted."""
    rest = [one for one in made if one["kind"] != "Namespace"]
    assert {one["metadata"].get("namespace") for one in rest} == {"mrag"}


def test_a_misspelt_field_would_be_seen() -> None:
    """The schemas refuse what they do not know, at every depth."""
    for manifest in (*overlay("gpu-cluster"), *overlay("gpu-cluster-reindex")):
        if manifest["kind"] not in RAY_KINDS:
            continue
        broken = copy.deepcopy(manifest)
        groups(broken)[1]["minReplica"] = 1
        with pytest.raises(jsonschema.ValidationError, match="minReplica"):
            jsonschema.validate(broken, SCHEMAS[manifest["kind"]])


def test_a_ray_cluster_is_the_pinned_ray_and_asks_for_a_token(made: tuple[Manifest, ...]) -> None:
    """A head of another Ray than the image's does not start; one without a token runs any code."""
    import ray

    for manifest in of_kind(made, *RAY_KINDS):
        cluster = ray_cluster(manifest)
        assert cluster["rayVersion"] == ray.__version__
        assert cluster["authOptions"] == {"mode": "token", "secretName": "mrag-ray-token"}
        for group in groups(manifest):
            values = group["rayStartParams"].values()
            assert all(isinstance(value, str) for value in values), "KubeRay takes strings alone"
        # The autoscaler runs beside the head and changes the resource by the pod's token.
        if cluster.get("enableInTreeAutoscaling"):
            assert groups(manifest)[0]["template"]["spec"]["automountServiceAccountToken"] is True


def test_pods_are_bound(made: tuple[Manifest, ...]) -> None:
    """No root, no added rights, memory bounded, secrets by reference, an exact image."""
    for name, template in every_pod(made):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert re.fullmatch(rf"[\w./-]+/mrag-(cpu|cuda):{__version__}", container["image"])
            wants_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
            assert not wants_gpu or "mrag-cuda" in container["image"], name
            for variable in container.get("env", []):
                secret = re.search("TOKEN|KEY|PASSWORD|SECRET", variable["name"])
                assert not (secret and variable.get("value")), name


def test_what_is_named_is_there(made: tuple[Manifest, ...]) -> None:
    """Config maps and claims in the overlay, secrets among those that the README makes."""
    readme = deployed_versions.README
    secrets = {
        name: {re.split("=", key)[0] for key in re.findall(r"--from-(?:literal|file)=(\w+)", rest)}
        for name, rest in re.findall(r"-n mrag create secret generic (\S+) (.*)", readme)
    }
    assert secrets["mrag-secrets"] == {"MRAG_MILVUS_TOKEN", "MRAG_API_KEYS"}
    config_maps = {one["metadata"]["name"] for one in of_kind(made, "ConfigMap")}
    claims = {one["metadata"]["name"] for one in of_kind(made, "PersistentVolumeClaim")}
    for name, template in every_pod(made):
        for kind, wanted in references(template):
            there = {"configMap": config_maps, "persistentVolumeClaim": claims}.get(kind, secrets)
            assert wanted["name"] in there, (name, wanted)
            if "key" in wanted:
                assert wanted["key"] in secrets[wanted["name"]], (name, wanted)
    for monitor in of_kind(made, "ServiceMonitor"):
        wanted = monitor["spec"]["endpoints"][0]["authorization"]["credentials"]
        assert wanted["key"] in secrets[wanted["name"]]
    for manifest in of_kind(made, *RAY_KINDS):
        assert secrets[ray_cluster(manifest)["authOptions"]["secretName"]] == {"auth_token"}
    for way_in in of_kind(made, "Ingress"):
        for tls in way_in["spec"]["tls"]:
            assert f"create secret tls {tls['secretName']} " in readme


def references(template: Manifest) -> list[tuple[str, Manifest]]:
    """What a pod takes from elsewhere: the kind, its name and perhaps a key."""
    found: list[tuple[str, Manifest]] = []
    for volume in template["spec"].get("volumes", []):
        if "configMap" in volume:
            found.append(("configMap", volume["configMap"]))
        if "persistentVolumeClaim" in volume:
            name = volume["persistentVolumeClaim"]["claimName"]
            found.append(("persistentVolumeClaim", {"name": name}))
    for container in template["spec"]["containers"]:
        for source in container.get("envFrom", []):
            kind = "configMap" if "configMapRef" in source else "secret"
            found.append((kind, source[f"{kind}Ref"]))
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                found.append(("secret", variable["valueFrom"]["secretKeyRef"]))
    return found


def matching(made: tuple[Manifest, ...], labels: dict[str, str]) -> list[Manifest]:
    """The pod templates that have all these labels."""
    return [
        template
        for _, template in every_pod(made)
        if labels.items() <= template.get("metadata", {}).get("labels", {}).items()
    ]


def check_selectors(made: tuple[Manifest, ...]) -> None:
    """Each selector finds a pod, each port of a service is one of the pod's."""
    services = of_kind(made, "Service")
    services += [
        {**one["spec"]["serveService"], "kind": "Service", "of": one}
        for one in of_kind(made, "RayService")
    ]
    for manifest in of_kind(made, "Deployment"):
        assert matching(made, manifest["spec"]["selector"]["matchLabels"]), named(manifest)
    for manifest in of_kind(made, "PodDisruptionBudget"):
        found = matching(made, manifest["spec"]["selector"]["matchLabels"])
        assert found or of_kind(made, "RayJob"), named(manifest)
    for manifest in of_kind(made, "NetworkPolicy"):
        labels = manifest["spec"]["podSelector"].get("matchLabels", {})
        if "app.kubernetes.io/created-by" not in labels:  # KubeRay's own, on each of its pods
            assert matching(made, labels), named(manifest)
    for service in services:
        by_ray = "of" in service
        found = pods(service["of"]) if by_ray else matching(made, service["spec"]["selector"])
        ports = {
            key
            for template in found
            for container in template["spec"]["containers"]
            for port in container.get("ports", [])
            for key in (port["name"], port["containerPort"])
        }
        for port in service["spec"]["ports"]:
            assert port.get("targetPort", port["port"]) in ports, named(service)
    for monitor in of_kind(made, "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in services if labels <= s["metadata"].get("labels", {}).items()]
        assert len(found) == 1
        [endpoint] = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in found[0]["spec"]["ports"]}
    for way_in in of_kind(made, "Ingress"):
        [path] = way_in["spec"]["rules"][0]["http"]["paths"]
        backend = path["backend"]["service"]
        [service] = [one for one in services if one["metadata"]["name"] == backend["name"]]
        assert backend["port"]["number"] in {port["port"] for port in service["spec"]["ports"]}


def test_every_selector_finds_a_pod(made: tuple[Manifest, ...]) -> None:
    """And the way in leads to a service that there is."""
    check_selectors(made)


def test_the_prometheus_operator_finds_the_small_service(monitored: tuple[Manifest, ...]) -> None:
    """The overlay's comment, taken out, is all that is needed."""
    [monitor] = of_kind(monitored, "ServiceMonitor")
    jsonschema.validate(monitor, SCHEMAS["ServiceMonitor"])
    check_selectors(monitored)


def test_the_prometheus_operator_gets_the_alerts(monitored: tuple[Manifest, ...]) -> None:
    """Those that Prometheus gets as a file, whose troubles `test_alerts.py` tries."""
    [rule] = of_kind(monitored, "PrometheusRule")
    jsonschema.validate(rule, SCHEMAS["PrometheusRule"])
    assert rule["spec"] == yaml.safe_load(prometheus_rule.ALERTS.read_text("utf-8"))
    [monitor] = of_kind(monitored, "ServiceMonitor")
    [relabeling] = monitor["spec"]["endpoints"][0]["relabelings"]
    expressions = [one["expr"] for group in rule["spec"]["groups"] for one in group["rules"]]
    assert all(f'job="{relabeling["replacement"]}"' in one for one in expressions)


def test_a_budget_lets_a_node_be_drained(made: tuple[Manifest, ...]) -> None:
    """And keeps a pod that answers: a budget for a single pod would do one of the two."""
    for manifest in of_kind(made, "PodDisruptionBudget"):
        assert manifest["spec"]["maxUnavailable"] == 1
        labels = manifest["spec"]["selector"]["matchLabels"]
        [replicas] = [
            one["spec"]["replicas"]
            for one in of_kind(made, "Deployment")
            if one["spec"]["selector"]["matchLabels"] == labels
        ] or [
            group["minReplicas"]
            for one in of_kind(made, *RAY_KINDS)
            for group in groups(one)[1:]
            if group["template"].get("metadata", {}).get("labels") == labels
        ]
        assert replicas >= 2
