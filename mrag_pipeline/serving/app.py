"""The service as a Serve application: what `serve run`, `serve deploy` and `mrag serve` start.

serve run mrag_pipeline.serving.app:application config=mrag.toml
serve deploy deploy/serve.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.schema import LoggingConfig

from mrag_pipeline.config import Config, merged, setting
from mrag_pipeline.serving.ray.deployments import (
    EncoderReplica,
    QueryApi,
    RerankerReplica,
    SearchReplica,
)
from mrag_pipeline.serving.ray.replicas import check_replicas
from mrag_pipeline.settings.serve import ServeSpec

# How often Serve checks each replica; a dead one is replaced after the next check.
HEALTH_CHECK_S = 2.0


def application(args: dict[str, Any]) -> serve.Application:
    """The application that a config file describes.

    Args:
        args: `config`, the path of a TOML file that every node can read; and any setting that
            overrides it, as `serve.max_k: 50` or as a section.
    Raises: ConfigError.
    """
    settings: dict[str, Any] = {}
    for key, value in args.items():
        if key == "config":
            continue
        if isinstance(value, str) and "." in key:
            settings = merged(settings, setting(f"{key}={value}"))
        else:
            *parents, last = key.split(".")
            nested: Any = {last: value}
            for parent in reversed(parents):
                nested = {parent: nested}
            settings = merged(settings, nested)
    path = args.get("config")
    return build(Config.load(None if path is None else Path(path), settings))


def build(config: Config) -> serve.Application:
    """The three deployments, bound to each other; with a reranker there is a fourth.

    Raises: ConfigError for several searching replicas on Milvus Lite.
    """
    check_replicas(config)
    spec = config.serve
    values = config.to_dict()
    encoder = _deployment("QueryEncoder", EncoderReplica, spec, **_encoder_options(spec))
    search = _deployment(
        "HeadSearch",
        SearchReplica,
        spec,
        num_replicas=spec.search_replicas,
        ray_actor_options={"num_cpus": 1},
    )
    # Above the limits of the other two, so that our own problem (503) refuses what is too much.
    max_calls = spec.max_ongoing + spec.max_queued
    api = _deployment(
        "QueryApi",
        serve.ingress()(QueryApi),
        spec,
        num_replicas=spec.api_replicas,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=8 * max_calls,
        max_queued_requests=-1,
    )
    parts = [encoder.bind(values), search.bind(values)]
    if config.rerank.is_configured:
        reranker = _deployment(
            "Reranker",
            RerankerReplica,
            spec,
            num_replicas=spec.reranker_replicas,
            ray_actor_options=_resources(spec.reranker_gpus),
        )
        parts.append(reranker.bind(values))
    return api.bind(values, *parts)


def _resources(num_gpus: float) -> dict[str, float]:
    # An actor that asks for GPUs and CPUs waits for both, and hangs where CPUs are few.
    return {"num_cpus": 0, "num_gpus": num_gpus} if num_gpus else {"num_cpus": 1}


def _encoder_options(spec: ServeSpec) -> Mapping[str, Any]:
    resources = _resources(spec.encoder_gpus)
    if spec.max_encoder_replicas <= spec.encoder_replicas:
        return {"num_replicas": spec.encoder_replicas, "ray_actor_options": resources}
    return {
        "ray_actor_options": resources,
        "autoscaling_config": {
            "min_replicas": spec.encoder_replicas,
            "initial_replicas": spec.encoder_replicas,
            "max_replicas": spec.max_encoder_replicas,
            # One batch under way, and half of the next one waiting.
            "target_ongoing_requests": max(1.0, 1.5 * spec.max_batch),
        },
    }


def _deployment(name: str, replica: Any, spec: ServeSpec, **options: Any) -> serve.Deployment:
    return serve.deployment(
        replica,
        **{
            "name": name,
            "max_ongoing_requests": spec.max_ongoing,
            "max_queued_requests": spec.max_queued,
            "health_check_period_s": HEALTH_CHECK_S,
            "health_check_timeout_s": 30.0,
            "graceful_shutdown_wait_loop_s": 0.2,
            "graceful_shutdown_timeout_s": spec.timeout_s + 5,
            "logging_config": LoggingConfig(enable_access_log=False, log_level="WARNING"),
            **options,
        },
    )
