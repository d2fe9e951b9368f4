"""Each role of an overlay has its own config, and the room, devices and variables that it needs."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
import yaml

from mrag_pipeline.serving import address_limit
from tests.support.kustomized import (
    KUBERNETES,
    OVERLAYS,
    RAY_KINDS,
    Manifest,
    config_of,
    every_pod,
    gigabytes,
    gpus,
    gpus_of,
    groups,
    named,
    of_kind,
    overlay,
    pods,
    ray_cluster,
)
from tests.support.serve_nodes import asked_variables

DEPLOY = KUBERNETES.parent
HUB_CACHE = "/var/lib/mrag/models"
# Weights as float16 or bfloat16 files, in GB: what a pod downloads and holds.
MODELS_GB = {
    "Salesforce/SFR-Embedding-Mistral": 14.3,
    "sentence-transformers/all-MiniLM-L6-v2": 0.1,
}


@pytest.fixture(params=OVERLAYS)
def made(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    """The manifests of each overlay."""
    return overlay(request.param)


def test_a_pod_has_room_for_its_model(made: tuple[Manifest, ...]) -> None:
    """On disk, where the hub's files go, and in memory, which holds the weights once."""
    for manifest in made:
        for number, template in enumerate(pods(manifest)):
            config = config_of(made, template) or cluster_config(made, manifest)
            is_idle_head = number == 0 and manifest["kind"] in ("RayService", "RayCluster")
            # Phases without a GPU open no model.
            is_cpu_node = number > 0 and manifest["kind"] in RAY_KINDS and not gpus_of(template)
            is_server = "prefect-server" in named(manifest)
            if config is None or is_idle_head or is_cpu_node or is_server:
                continue
            weights = MODELS_GB[config.encoder.model]
            [container] = template["spec"]["containers"]
            [mount] = [m for m in container["volumeMounts"] if m["mountPath"] == HUB_CACHE]
            [volume] = [v for v in template["spec"]["volumes"] if v["name"] == mount["name"]]
            # A new revision is downloaded beside the old one.
            assert gigabytes(volume["emptyDir"]["sizeLimit"]) > 2 * weights, named(manifest)
            memory = gigabytes(container["resources"]["limits"]["memory"])
            assert memory > 1.25 * weights + 2, named(manifest)


def cluster_config(made: tuple[Manifest, ...], manifest: Manifest) -> Any:
    """The config of who drives a Ray cluster's workers: its head's, or the Prefect worker's."""
    if manifest["kind"] not in RAY_KINDS:
        return None
    head = config_of(made, pods(manifest)[0])
    drivers = [config_of(made, template) for name, template in every_pod(made) if "worker" in name]
    return head or next(config for config in drivers if config is not None)


def test_the_image_keeps_models_where_the_volume_is() -> None:
    """The Dockerfile's HF_HOME."""
    assert f"HF_HOME={HUB_CACHE} " in (DEPLOY / "Dockerfile").read_text("utf-8")


@pytest.mark.parametrize("names", [("one-gpu-node",), ("gpu-cluster", "gpu-cluster-reindex")])
def test_the_roles_share_an_index_and_differ_in_who_works(names: tuple[str, ...]) -> None:
    """Another corpus, encoder or staging would be another version: questions would be refused."""
    made = [overlay(name) for name in names]
    configs = {
        manifest["data"]["mrag.toml"]: config
        for manifests in made
        for _, template in every_pod(manifests)
        for config in [config_of(manifests, template)]
        for manifest in of_kind(manifests, "ConfigMap")
        if config is not None and "mrag.toml" in manifest["data"]
    }
    assert len(configs) == len(names) + 1
    own = {"workers", "serve", "ingest"}
    shared = [
        c.model_dump(exclude=own)
        for manifests in made
        for _, template in every_pod(manifests)
        for c in [config_of(manifests, template)]
        if c is not None
    ]
    assert all(one == shared[0] for one in shared)


def test_shards_are_embedded_where_there_are_gpus(made: tuple[Manifest, ...]) -> None:
    """On as many GPUs as there are: by `auto` on the cluster's own nodes, else by its service."""
    for manifest in made:
        for template in pods(manifest):
            config = config_of(made, template)
            if config is None or config.serve.host == "0.0.0.0" or "query" in named(manifest):
                continue
            workers = config.workers
            assert workers.device == "cuda"
            if workers.address == "auto":
                assert manifest["kind"] == "RayJob"
                assert workers.count == gpus(manifest)
            elif workers.address:
                name = re.fullmatch(r"ray://([\w-]+)-head-svc:10001", workers.address)
                assert name, workers.address
                [cluster] = of_kind(made, "RayCluster")
                assert cluster["metadata"]["name"] == name[1]
                assert workers.count == gpus(cluster)
            else:
                assert workers.count == gpus(manifest)


@pytest.mark.parametrize(
    ("name", "kind"), [("gpu-cluster", "RayCluster"), ("gpu-cluster-reindex", "RayJob")]
)
def test_gpu_nodes_are_there_while_shards_are_embedded(name: str, kind: str) -> None:
    """Other phases have nodes without GPUs, one of them always; the autoscaler brings the rest."""
    made = overlay(name)
    [manifest] = of_kind(made, kind)
    cluster = ray_cluster(manifest)
    config = cluster_config(made, manifest)
    assert cluster["enableInTreeAutoscaling"] is True
    # The first version looks at cores alone: it would count those of the spared GPU nodes.
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert gpus(manifest, "replicas") == gpus(manifest, "minReplicas") == 0
    assert config.workers.spare_gpu_nodes
    assert config.workers.start_timeout_s >= 900, "a machine starts and pulls the image"
    without = [group for group in groups(manifest)[1:] if not gpus_of(group["template"])]
    assert sum(group["minReplicas"] for group in without) >= 1
    cores = 0
    for group in without:
        spec = group["template"]["spec"]
        assert "tolerations" not in spec, "it would run on, and keep, a machine with GPUs"
        [container] = spec["containers"]
        cores += group["maxReplicas"] * int(container["resources"]["limits"]["cpu"])
    assert config.workers.phase_workers is not None, "its number of GPUs would be theirs too"
    of_other_phases = config.workers.of_other_phases
    assert cores >= of_other_phases.count * of_other_phases.threads


def test_no_process_asks_for_a_gpu_that_its_pod_does_not_have() -> None:
    """Who drives a cluster's workers has a copy of the model, and no GPU for it."""
    drivers = set()
    for name in OVERLAYS:
        made = overlay(name)
        for manifest, template in every_pod(made):
            config = config_of(made, template)
            if config is None or gpus_of(template):
                continue
            assert config.workers.driver_device != "cuda", (name, manifest)
            if config.workers.device == "cuda":
                drivers.add((name, manifest))
    assert drivers == {
        ("gpu-cluster", "Deployment/prefect-worker"),
        ("gpu-cluster-reindex", "RayJob/mrag-ingest"),
    }


def test_the_query_services_encoders_have_gpus() -> None:
    """At least as many as start at once, at most as many as it may grow to."""
    made = overlay("gpu-cluster")
    [service] = of_kind(made, "RayService")
    config = config_of(made, pods(service)[0])
    assert config is not None
    spec = config.serve
    assert spec.encoder_replicas * spec.encoder_gpus <= gpus(service, "minReplicas")
    assert spec.max_encoder_replicas * spec.encoder_gpus == gpus(service)


def test_the_ray_service_is_a_serve_config_with_what_serve_yaml_asks_for() -> None:
    """The application it names is there; each node has every variable of serve.yaml's head."""
    from ray.serve.schema import ServeDeploySchema

    made = overlay("gpu-cluster")
    [service] = of_kind(made, "RayService")
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    [application] = config.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    asked = asked_variables()
    assert asked.pop("RAY_AUTH_MODE") == ray_cluster(service)["authOptions"]["mode"]
    assert len(asked) == 11
    for template in pods(service):
        [container] = template["spec"]["containers"]
        assert config_of(made, template) is not None, "every node reads the config"
        assert application.args["config"] == "/etc/mrag/mrag.toml"
        maps = [
            one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one
        ]
        given = {
            key: value
            for one in of_kind(made, "ConfigMap")
            if one["metadata"]["name"] in maps
            for key, value in one["data"].items()
        }
        assert given == asked | {address_limit.VARIABLE: "0"}, "the Ingress is one address"
        assert {"secretRef": {"name": "mrag-secrets"}} in container["envFrom"]


def test_the_ingress_has_no_limit_of_connections_by_address() -> None:
    """It is one address for all its callers; on the GPU cluster see the test above."""
    [query] = [t for name, t in every_pod(overlay("one-gpu-node")) if name.endswith("mrag-query")]
    [container] = query["spec"]["containers"]
    assert {"name": address_limit.VARIABLE, "value": "0"} in container["env"]


def test_the_worker_has_what_the_deployments_ask_for(made: tuple[Manifest, ...]) -> None:
    """The variables of prefect.yaml, by the pod or the image; the schedules are registered."""
    asked = set(re.findall(r"\{\{ \$(\w+) \}\}", (DEPLOY / "prefect.yaml").read_text("utf-8")))
    image = set(
        re.findall(r"^(?:ENV|   ) (\w+)=", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    )
    workers = [t for name, t in every_pod(made) if name == "Deployment/prefect-worker"]
    for template in workers:
        [container] = template["spec"]["containers"]
        given = {variable["name"] for variable in container["env"]}
        assert asked <= given | image
        assert (
            "prefect --no-prompt deploy --all --prefect-file prefect.yaml" in container["args"][2]
        )
        config = config_of(made, template)
        assert config is not None
        if config.workers.address:
            assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= given


def test_a_pod_that_ends_answers_what_it_has_begun() -> None:
    """It waits until nothing new is sent to it, then as long as a request may take."""
    made = overlay("one-gpu-node")
    [(_, template)] = [(n, t) for n, t in every_pod(made) if n == "Deployment/mrag-query"]
    [container] = template["spec"]["containers"]
    config = config_of(made, template)
    assert config is not None
    wait = config.serve.drain_s
    assert wait >= 2 * container["readinessProbe"]["periodSeconds"], "two probes see that it leaves"
    assert template["spec"]["terminationGracePeriodSeconds"] > wait + config.serve.timeout_s + 1
