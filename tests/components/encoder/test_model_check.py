from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.encoder import model_check
from mrag_pipeline.encoder.model_check import check_model
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_model


@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen3", "gpt2", "mpnet", "t5"])
def test_a_good_model_passes_its_checks(family: str, tmp_path: Path) -> None:
    """Its path equals encoding one text at a time; its heads add up to the projection's output."""
    steps: list[str] = []
    report = check_model(EncoderSpec(str(save_model(family, tmp_path))), say=steps.append)
    assert report.holds
    assert str(tmp_path) in steps[0]
    assert len(report.proofs) == 3
    facts = dict(report.facts)
    assert facts["family"].startswith(family)
    assert facts["path"] == ("padded" if family in ("mpnet", "t5") else "packed")


def test_each_layer_that_is_read_is_checked(tmp_path: Path) -> None:
    """With two layers there are two sums."""
    report = check_model(EncoderSpec(str(save_model("bert", tmp_path)), layers=(-1, -2)))
    claims = [proof.claim for proof in report.proofs]
    assert sum("add up" in claim for claim in claims) == 2


def test_wrong_heads_fail_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed path whose heads are a tenth too long fails the check."""
    folder = save_model("bert", tmp_path)
    load = load_encoder

    def scaled(*args: Any, **kwargs: Any) -> Any:
        encoder = load(*args, **kwargs)
        if kwargs.get("packed", True):
            projection = encoder.capture.projections[0]
            projection.register_forward_pre_hook(lambda _, args: (args[0] * 1.1,), prepend=True)
        return encoder

    monkeypatch.setattr(model_check, "load_encoder", scaled)
    report = check_model(EncoderSpec(str(folder)))
    assert not report.holds
