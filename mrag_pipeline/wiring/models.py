"""What is known of a config's model, its weights and the hub, without an encoder of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mrag_pipeline.config import Config

if TYPE_CHECKING:
    from mrag_pipeline.encoder.model_check import ModelReport


def hub_problem() -> str:
    """Why the model hub cannot be used from here; empty if it answers within 3 s."""
    from mrag_pipeline.filesystems.hub import hub_problem

    return hub_problem()


def has_model(model: str, revision: str = "") -> bool:
    """Whether the model is on this machine: installed, in a folder, or in the hub's cache."""
    from mrag_pipeline.encoder.model_source import is_here

    return is_here(model, revision)


def weights_hash(config: Config) -> str:
    """The hash of the config's model weights, as in its card; loads nothing.

    Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
    """
    from mrag_pipeline.encoder.model_source import find_model

    return find_model(config.encoder).weights_hash()


def model_report(config: Config, say: Callable[[str], object]) -> ModelReport:
    """What the config's model is, and whether its checks hold; `say` gets the name of each step."""
    say("importing torch and transformers")
    from mrag_pipeline.encoder.lean_imports import lean_imports

    with lean_imports():
        from mrag_pipeline.encoder.model_check import check_model

    return check_model(config.encoder, device=config.workers.driver_device, say=say)
