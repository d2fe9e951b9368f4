from __future__ import annotations

from typing import Any

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.one_process import is_enough

SEVERAL: list[dict[str, Any]] = [
    {"serve": {"api_replicas": 2}},
    {"serve": {"encoder_replicas": 2}},
    {"serve": {"max_encoder_replicas": 3}},
    {"serve": {"search_replicas": 2}},
    {"serve": {"reranker_replicas": 2}},
    {"serve": {"encoder_gpus": 0.5}},
    {"serve": {"reranker_gpus": 1.0}},
    {"workers": {"address": "auto"}},
]


def _config(settings: dict[str, Any], backend: str) -> Config:
    serve = {**settings.get("serve", {}), "backend": backend}
    return Config.parse({**settings, "serve": serve})


def test_one_machine_with_one_replica_of_each_needs_one_process() -> None:
    """Unless Ray is asked for by name."""
    assert is_enough(_config({}, "auto"))
    assert is_enough(_config({}, "process"))
    assert not is_enough(_config({}, "ray"))


@pytest.mark.parametrize("settings", SEVERAL)
def test_what_one_process_cannot_be_runs_on_ray(settings: dict[str, Any]) -> None:
    """And is refused by name where one process was asked for."""
    assert not is_enough(_config(settings, "auto"))
    assert not is_enough(_config(settings, "ray"))
    [(table, keys)] = settings.items()
    [key] = keys
    with pytest.raises(ConfigError) as caught:
        is_enough(_config(settings, "process"))
    assert f"{table}.{key}" in caught.value.found
