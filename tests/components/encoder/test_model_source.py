from __future__ import annotations

import json
import pickle
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.encoder.model_source import find_model, is_here
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.errors import (
    ConfigError,
    EncoderError,
    ModelNotFound,
    UnsafeWeights,
    UnsupportedArchitecture,
)
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_model

COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def spec(folder: Path | str, **changes: Any) -> EncoderSpec:
    return EncoderSpec(str(folder), **changes)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_same_files_elsewhere_have_the_same_hash(bert: Path, copy: Path) -> None:
    """A copy of the folder, with unrelated files added, is the same encoder."""
    (copy / "README.md").write_text("notes")
    (copy / "pytorch_model.bin").write_bytes(b"never read")
    assert find_model(spec(copy)).weights_hash() == find_model(spec(bert)).weights_hash()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_changed_file_changes_the_hash(name: str, copy: Path) -> None:
    """Weights, config and tokenizer all determine the vectors."""
    before = find_model(spec(copy)).weights_hash()
    with (copy / name).open("ab") as file:
        file.write(b" ")
    assert find_model(spec(copy)).weights_hash() != before


def test_a_model_travels_in_a_package_that_is_never_imported(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """package:NAME finds the folder with weights inside; the package's code does not run."""
    package = tmp_path / "site" / "carried_model"
    shutil.copytree(bert, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    source = find_model(spec("package:carried_model"))
    assert source.transformer == package / "model"
    assert "carried_model" not in sys.modules
    assert source.weights_hash() == find_model(spec(bert)).weights_hash()


@pytest.mark.parametrize("name", ["no_such_package", "os", "numpy", "a b", "..", "os.path"])
def test_a_package_without_a_model_is_not_found(name: str) -> None:
    """The message says what the package must contain."""
    with pytest.raises(ModelNotFound) as caught:
        find_model(spec(f"package:{name}"))
    assert caught.value.expected


@pytest.mark.parametrize("revision", ["", "main", "v1.0", COMMIT[:12]])
def test_a_hub_model_must_be_pinned_to_a_commit(revision: str) -> None:
    """A branch or tag can move; the message says how to find the commit."""
    with pytest.raises(ConfigError, match="40 hex digits") as caught:
        find_model(spec("somebody/some-model", revision=revision))
    assert "git ls-remote" in caught.value.fix


def test_a_pinned_model_is_taken_from_the_cache_without_the_hub(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model fetched once loads offline and has the folder's hash."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--somebody--some-model" / "snapshots" / COMMIT
    shutil.copytree(bert, snapshot)
    source = find_model(spec("somebody/some-model", revision=COMMIT))
    assert source.weights_hash() == find_model(spec(bert)).weights_hash()


def test_an_unreachable_hub_is_reported_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline and not cached: the message names the model and suggests a local folder."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="somebody/some-model") as caught:
        find_model(spec("somebody/some-model", revision=COMMIT))
    assert "offline" in caught.value.fix


def test_a_hub_that_is_silent_is_told_within_three_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is taken and never answered; the way out is in the error."""
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ModelNotFound, match="the hub cannot be reached") as caught:
            find_model(spec("somebody/some-model", revision=COMMIT))
        assert time.monotonic() - started < 3.0 + 2.0  # a busy machine
    assert "mrag init --offline" in caught.value.fix


def test_what_needs_no_network_is_known(bert: Path) -> None:
    """A folder, an installed package; not a hub id that was never fetched."""
    assert is_here(str(bert))
    assert is_here("package:numpy")
    assert not is_here("package:no_such_package")
    assert not is_here("somebody/never-fetched", COMMIT)


@pytest.mark.parametrize("model", ["/no/such/folder", "./none", "~/none", "", "a/b/c"])
def test_a_missing_folder_is_not_found(model: str) -> None:
    """A path is never treated as a hub id."""
    with pytest.raises(ModelNotFound):
        find_model(spec(model, revision=COMMIT))


def test_a_folder_of_pickles_is_refused(copy: Path) -> None:
    """The pickle is not opened, since that would run its code."""

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.write_text, (copy / "ran", "code of the pickle ran"))

    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin") as caught:
        load_encoder(spec(copy))
    assert "safetensors" in caught.value.fix
    assert not (copy / "ran").exists()


def test_a_folder_without_weights_is_not_a_model(copy: Path) -> None:
    """Nor is one without config.json, or without a file that its index names."""
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="no weights"):
        find_model(spec(copy))
    (copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}')
    with pytest.raises(ModelNotFound, match=r"gone\.safetensors"):
        find_model(spec(copy))
    (copy / "config.json").unlink()
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        find_model(spec(copy))


def test_a_model_that_brings_its_own_code_is_refused(copy: Path) -> None:
    """auto_map names code in the folder; that code does not run."""
    change_config(
        copy, model_type="homemade", auto_map={"AutoModel": "modeling_homemade.HomeModel"}
    )
    (copy / "modeling_homemade.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    with pytest.raises(UnsupportedArchitecture, match="never run"):
        load_encoder(spec(copy))
    assert not (copy / "ran").exists()


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    """With more layers in the config than in the file, the rest would be random."""
    change_config(copy, num_hidden_layers=5)
    with pytest.raises(UnsupportedArchitecture, match="not in"):
        load_encoder(spec(copy))


def test_broken_files_raise_our_errors(copy: Path) -> None:
    """Truncated weights, and invalid JSON."""
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(EncoderError):
        load_encoder(spec(copy))
    (copy / "config.json").write_text("{not json")
    with pytest.raises(EncoderError):
        load_encoder(spec(copy))


def test_a_folder_without_a_tokenizer_is_reported(copy: Path) -> None:
    """The message says which file to save there."""
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelNotFound, match="tokenizer"):
        load_encoder(spec(copy))


@pytest.mark.parametrize(
    "content",
    ["{}", "7", '["Transformer"]', '[{"type": "Transformer"}]', '[{"type": 1, "path": ""}]'],
)
def test_modules_that_are_no_list_of_modules_are_refused(copy: Path, content: str) -> None:
    """In one line that names the file, not by a traceback."""
    (copy / "modules.json").write_text(content)
    with pytest.raises(UnsupportedArchitecture, match=r"modules\.json does not hold a list"):
        load_encoder(spec(copy))


@pytest.mark.parametrize("name", ["modules.json", "config.json", "tokenizer_config.json"])
def test_json_that_is_nested_too_deep_is_refused(copy: Path, name: str) -> None:
    """A hundred thousand lists within each other."""
    (copy / name).write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(EncoderError):
        load_encoder(spec(copy))


def test_a_name_that_is_no_package_is_not_found() -> None:
    """Also the one of whatever is running."""
    with pytest.raises(ModelNotFound, match="no installed package '__main__'"):
        find_model(spec("package:__main__"))
    assert not is_here("package:__main__")
