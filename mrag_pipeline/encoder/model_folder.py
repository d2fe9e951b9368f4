"""A model's files in a folder, checked to be loadable without running code that comes with them.

Knows nothing of torch. Only safetensors, JSON and tokenizer files are ever read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrag_pipeline.errors import (
    ModelNotFound,
    MragError,
    UnsafeWeights,
    UnsupportedArchitecture,
)

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


def checked_folder(root: Path, table: str) -> ModelFolder:
    """The folder as a model's, if its config and all of its weights are there.

    Args:
        table: of the config, that names the model; for errors.
    Raises: ModelNotFound; UnsafeWeights if they are pickled; UnsupportedArchitecture.
    """
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


def check_hash(folder: ModelFolder, expected: str, table: str) -> None:
    """Refuses weights with another sha256 than is expected; "" expects none.

    Raises: UnsafeWeights.
    """
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
