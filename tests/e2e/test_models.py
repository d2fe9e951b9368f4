"""`mrag models check` on the real model, and on what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import run

pytestmark = pytest.mark.timeout(900)


def test_a_model_proves_itself(minilm: EncoderSpec, tmp_path: Path) -> None:
    """What it is, and that our fast path equals one text at a time."""
    ended = run("models", "check", minilm.model, "--json", cwd=tmp_path, log=tmp_path / "check")
    assert (ended.code, ended.err) == (0, "")
    report = ended.json()
    assert report["holds"] is True
    assert report["facts"]["heads"] == "12 of 32 numbers"
    assert len(report["proofs"]) == 3
    assert all(0 <= proof["difference"] <= 1e-5 for proof in report["proofs"])


def test_what_is_begun_is_said_at_once(tmp_path: Path) -> None:
    """Before the first slow thing, on standard error."""
    ended = run("models", "check", "package:none", cwd=tmp_path, log=tmp_path / "check")
    assert ended.err.startswith("importing torch and transformers ...\nloading package:none")


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    """An empty folder: one message, exit code 4."""
    (tmp_path / "empty").mkdir()
    ended = run("models", "check", "./empty", cwd=tmp_path, log=tmp_path / "check")
    assert ended.code == 4
    assert "config.json" in ended.err
    assert "Traceback" not in ended.err
