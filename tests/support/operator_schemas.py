"""What two operators take of their resources, as JSON schemas: KubeRay 1.6 and Prometheus.

Written from the fields of their v1 APIs, without those that are deprecated, and strict: a field
that is not here is a mistake. Pods are left to Kubernetes's own schemas.
"""

from __future__ import annotations

from typing import Any

STRING, WHOLE, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
STRINGS = {"type": "object", "additionalProperties": STRING}
ANYTHING = {"type": "object"}  # Kubernetes's own


def record(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
    }


AUTOSCALER = record(
    env={"type": "array"},
    envFrom={"type": "array"},
    idleTimeoutSeconds=WHOLE,
    image=STRING,
    imagePullPolicy=STRING,
    resources=ANYTHING,
    securityContext=ANYTHING,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    volumeMounts={"type": "array"},
)
HEAD = record(
    ("rayStartParams", "template"),
    enableIngress=FLAG,
    headService=ANYTHING,
    rayStartParams=STRINGS,
    serviceType=STRING,
    template=ANYTHING,
)
WORKERS = record(
    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    groupName=STRING,
    idleTimeoutSeconds=WHOLE,
    maxReplicas=WHOLE,
    minReplicas=WHOLE,
    numOfHosts=WHOLE,
    rayStartParams=STRINGS,
    replicas=WHOLE,
    scaleStrategy=record(workersToDelete={"type": "array", "items": STRING}),
    suspend=FLAG,
    template=ANYTHING,
)
CLUSTER = record(
    ("headGroupSpec", "workerGroupSpecs", "rayVersion"),
    authOptions=record(
        enableK8sTokenAuth=FLAG, mode={"enum": ["disabled", "token"]}, secretName=STRING
    ),
    autoscalerOptions=AUTOSCALER,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=ANYTHING,
    headGroupSpec=HEAD,
    headServiceAnnotations=STRINGS,
    managedBy=STRING,
    rayVersion=STRING,
    suspend=FLAG,
    workerGroupSpecs={"type": "array", "items": WORKERS, "minItems": 1},
)
JOB = record(
    ("entrypoint", "rayClusterSpec"),
    activeDeadlineSeconds=WHOLE,
    backoffLimit=WHOLE,
    clusterSelector=STRINGS,
    entrypoint=STRING,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=STRING,
    jobId=STRING,
    metadata=STRINGS,
    rayClusterSpec=CLUSTER,
    runtimeEnvYAML=STRING,
    shutdownAfterJobFinishes=FLAG,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterConfig=record(backoffLimit=WHOLE),
    submitterPodTemplate=ANYTHING,
    suspend=FLAG,
    ttlSecondsAfterFinished=WHOLE,
)
SERVICE = record(
    ("serveConfigV2", "rayClusterConfig"),
    excludeHeadPodFromServeSvc=FLAG,
    rayClusterConfig=CLUSTER,
    rayClusterDeletionDelaySeconds=WHOLE,
    serveConfigV2=STRING,
    serveService=ANYTHING,
    upgradeStrategy=record(type=STRING, clusterUpgradeOptions=ANYTHING),
)
# Of the Prometheus operator's ServiceMonitor, what says where and how to scrape.
CREDENTIALS = record(("name", "key"), name=STRING, key=STRING)
MONITOR = record(
    ("selector", "endpoints"),
    endpoints={
        "type": "array",
        "minItems": 1,
        "items": record(
            ("port",),
            authorization=record(credentials=CREDENTIALS, type=STRING),
            interval=STRING,
            path=STRING,
            port=STRING,
            relabelings={
                "type": "array",
                "items": record(action=STRING, replacement=STRING, targetLabel=STRING),
            },
            scheme={"enum": ["http", "https"]},
            scrapeTimeout=STRING,
        ),
    },
    jobLabel=STRING,
    namespaceSelector=ANYTHING,
    selector=record(("matchLabels",), matchLabels=STRINGS),
)
# Of its PrometheusRule, what says when an alert fires and what it tells.
RULES = record(
    ("groups",),
    groups={
        "type": "array",
        "minItems": 1,
        "items": record(
            ("name", "rules"),
            name=STRING,
            rules={
                "type": "array",
                "minItems": 1,
                "items": record(
                    ("alert", "expr"),
                    alert=STRING,
                    annotations=STRINGS,
                    expr=STRING,
                    labels=STRINGS,
                    **{"for": STRING},
                ),
            },
        ),
    },
)
RAY, MONITORING = "ray.io/v1", "monitoring.coreos.com/v1"
SCHEMAS = {
    kind: record(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=ANYTHING,
        spec=spec,
    )
    for kind, version, spec in (
        ("RayCluster", RAY, CLUSTER),
        ("RayJob", RAY, JOB),
        ("RayService", RAY, SERVICE),
        ("ServiceMonitor", MONITORING, MONITOR),
        ("PrometheusRule", MONITORING, RULES),
    )
}
