"""How long `mrag serve` waits for its service, and what it says when that was too long."""

from __future__ import annotations

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import NotReady
from mrag_pipeline.serving import listening
from mrag_pipeline.serving.backend import SILENT


def test_a_service_that_stays_silent_is_told_with_its_own_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has answered, so "no answer" would be wrong."""
    monkeypatch.setattr(listening, "_readiness", lambda *_: (503, SILENT))
    assert listening.wait_ready(Config(), lambda: True, 0.0) == SILENT
    assert "overloaded" in SILENT


def test_where_nothing_answers_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, or another program."""
    monkeypatch.setattr(listening, "_readiness", lambda *_: (0, ""))
    with pytest.raises(NotReady, match="no answer within 0 s"):
        listening.wait_ready(Config(), lambda: True, 0.0)
