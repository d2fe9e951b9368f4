"""A command that drives a cluster of GPUs loads its own copy of the model without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.flows.ingest import make_plan
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.wiring.embedders import shard_embedder
from mrag_pipeline.wiring.models import model_report
from tests.support.project_folder import write_lines
from tests.support.tiny_models import save_model

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
# How a Prefect worker's pod, and the head of a job's own cluster, name the workers.
DRIVERS = [{"address": "ray://head:10001"}, {"address": "auto"}]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A few documents and a model; the light encoder is not asked, which has no GPU anyway."""
    write_lines(tmp_path / "a.jsonl", range(3))
    return {
        "corpus": {"uri": str(tmp_path / "a.jsonl")},
        "encoder": {"model": str(save_model("bert", tmp_path / "model")), "dtype": "bfloat16"},
        "chunking": {"max_tokens": 32},
        "staging": {"uri": str(tmp_path / "staging")},
    }


def config(settings: dict[str, Any], **workers: str) -> Config:
    return Config.parse({**settings, "workers": {"device": "cuda", **workers}})


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_plans_and_asks_with_what_it_has(
    driver: dict[str, str], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is that of a machine by itself: where something ran is no part of a version."""
    monkeypatch.setattr(wiring, "index", lambda _: ExactIndex("docs"))
    planned = make_plan(config(settings, **driver)).manifest
    alone = make_plan(Config.parse(settings)).manifest
    assert (planned.version, planned.fingerprint) == (alone.version, alone.fingerprint)
    assert len(wiring.encoder(config(settings, **driver)).encode(["who"], "query").heads) == 1
    assert model_report(config(settings, **driver), lambda _: None).holds


@pytest.mark.parametrize("driver", [*DRIVERS, {}])
def test_a_worker_without_its_gpu_refuses(driver: dict[str, str], settings: dict[str, Any]) -> None:
    """It would be slow, and nobody would know."""
    with pytest.raises(ConfigError, match="device 'cuda'"):
        shard_embedder(config(settings, **driver), "v1", "f")


def test_a_machine_by_itself_refuses_to_plan(settings: dict[str, Any]) -> None:
    """It is the worker, too."""
    with pytest.raises(ConfigError, match="device 'cuda'"):
        make_plan(config(settings))
