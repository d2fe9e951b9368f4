"""The local cross-encoder: which models it takes and refuses, and how it keeps time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mrag_pipeline.encoder.cross_encoder import CrossEncoder, load_cross_encoder
from mrag_pipeline.errors import (
    BadVectors,
    ConfigError,
    ModelNotFound,
    OutOfTime,
    RerankerUnavailable,
    UnsafeWeights,
    UnsupportedArchitecture,
)
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.settings.rerank import RerankSpec
from tests.support.tiny_models import MAX_POSITIONS, save_cross_encoder, save_model

REQUEST = RerankRequest("w1 w2", ("w1", "w2 w3", "w4"))


def loaded(folder: Path | str, **changes: Any) -> CrossEncoder:
    return load_cross_encoder(RerankSpec(model=str(folder), device="cpu", **changes))


def test_a_model_in_an_installed_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """package:NAME, as for encoders; no code of the package runs."""
    package = tmp_path / "carried_reranker"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('code of the package ran')")
    save_cross_encoder(package / "model")
    monkeypatch.syspath_prepend(str(tmp_path))
    reranker = loaded("package:carried_reranker")
    assert reranker.name == "package:carried_reranker"
    assert "carried_reranker" not in sys.modules


def test_the_longest_pair_is_what_the_model_can_read(tmp_path: Path) -> None:
    """The setting, but never more than the model has positions."""
    folder = save_cross_encoder(tmp_path)
    assert loaded(folder).max_tokens == MAX_POSITIONS
    assert loaded(folder, max_tokens=0).max_tokens == MAX_POSITIONS
    assert loaded(folder, max_tokens=20).max_tokens == 20


def test_positions_that_begin_after_the_padding_are_not_counted(tmp_path: Path) -> None:
    """RoBERTa's table has two rows more than its texts may have tokens."""
    folder = save_cross_encoder(tmp_path, "roberta", max_position_embeddings=20)
    reranker = loaded(folder)
    assert reranker.max_tokens == 18
    reranker.scores([RerankRequest("w1 " * 50, ("w2 " * 50,))], 60.0)


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    """Its folder has no classification head: the head would be random."""
    with pytest.raises(UnsupportedArchitecture, match=r"such as classifier") as caught:
        loaded(save_model("bert", tmp_path))
    assert "cross-encoder" in caught.value.fix


def test_more_than_two_labels_are_refused(tmp_path: Path) -> None:
    """A model of entailment has three."""
    with pytest.raises(UnsupportedArchitecture, match="3 labels"):
        loaded(save_cross_encoder(tmp_path, num_labels=3))


def test_a_type_that_cannot_classify_is_refused(tmp_path: Path) -> None:
    """Named, with what is expected."""
    folder = save_cross_encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "clip"}))
    with pytest.raises(UnsupportedArchitecture, match="sequence classification"):
        loaded(folder)


def test_a_model_that_brings_its_own_code_is_refused(tmp_path: Path) -> None:
    """The code is never run."""
    folder = save_cross_encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "ours", "auto_map": {"AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    with pytest.raises(UnsupportedArchitecture, match="never run"):
        loaded(folder)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    """Loading them could run code."""
    folder = save_cross_encoder(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin"):
        loaded(folder)


def test_other_weights_than_expected_are_refused(tmp_path: Path) -> None:
    """By the hash in [rerank]."""
    with pytest.raises(UnsafeWeights, match=r"rerank\.weights_sha256|sha256") as caught:
        loaded(save_cross_encoder(tmp_path), weights_sha256="0" * 64)
    assert "rerank.weights_sha256" in str(caught.value)


def test_a_missing_folder_names_the_setting() -> None:
    """`rerank.model`, not `encoder.model`."""
    with pytest.raises(ModelNotFound) as caught:
        loaded("./no/such/folder")
    assert "rerank.model" in caught.value.fix


def test_a_hub_id_needs_its_commit() -> None:
    """As for encoders: a branch can change."""
    with pytest.raises(ConfigError) as caught:
        loaded("somebody/some-reranker")
    assert "rerank.revision" in caught.value.fix


@pytest.mark.parametrize("max_tokens", [1, 4])
def test_no_room_for_two_texts_is_refused(max_tokens: int, tmp_path: Path) -> None:
    """Special tokens alone would fill it."""
    with pytest.raises(ConfigError, match=r"rerank\.max_tokens"):
        loaded(save_cross_encoder(tmp_path), max_tokens=max_tokens)


def test_time_is_up_between_two_batches(tmp_path: Path) -> None:
    """The error says how far it came."""
    reranker = loaded(save_cross_encoder(tmp_path), batch=1)
    with pytest.raises(OutOfTime, match="scored 0 of 3 passages"):
        reranker.scores([REQUEST], -1.0)


def test_scores_that_are_nan_are_an_error(tmp_path: Path) -> None:
    """Never a rank."""
    folder = save_cross_encoder(tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder))
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    model.save_pretrained(str(folder))
    with pytest.raises(BadVectors, match="3 of 3 scores"):
        loaded(folder).scores([REQUEST], 60.0)


def test_a_device_that_fails_is_a_reranker_that_is_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the answer keeps the vote's order: torch's own errors are not ours."""
    folder = save_cross_encoder(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", full)
    with pytest.raises(RerankerUnavailable, match="out of memory") as caught:
        loaded(folder).scores([REQUEST], 60.0)
    assert "rerank.batch" in caught.value.fix
