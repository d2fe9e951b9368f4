"""`mrag models check` on the real model, and on folders without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import Mrag, run

pytestmark = pytest.mark.timeout(900)


def test_the_checks_of_a_good_model_hold(minilm: EncoderSpec, tmp_path: Path) -> None:
    """Reports its shape, and that the fast path equals one text at a time."""
    ended = run("models", "check", minilm.model, "--json", cwd=tmp_path, log=tmp_path / "check")
    assert (ended.code, ended.err) == (0, "")
    report = ended.json()
    assert report["holds"] is True
    assert report["facts"]["heads"] == "12 of 32 numbers"
    assert len(report["proofs"]) == 3
    assert all(0 <= proof["difference"] <= 1e-5 for proof in report["proofs"])


def test_each_step_is_announced_before_it_starts(tmp_path: Path) -> None:
    """On standard error, before the first slow import."""
    ended = run("models", "check", "package:none", cwd=tmp_path, log=tmp_path / "check")
    assert ended.err.startswith("importing torch and transformers ...\nloading package:none")


def test_a_folder_without_a_model_is_refused(mrag: Mrag) -> None:
    """One message, exit code 4."""
    Path("empty").mkdir()
    said = mrag("models", "check", "./empty")
    assert said.code == 4
    assert "config.json" in said.err
