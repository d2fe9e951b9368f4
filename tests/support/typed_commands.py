"""Commands that are run in this process, as if they had been typed."""

from __future__ import annotations

import sys

import pytest

from tests.support.project_folder import Mrag, Said


def typed_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Mrag:
    """Runs commands in this process, in the folder that it is in."""
    from mrag_pipeline.cli import main

    def typed(*arguments: str) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["mrag", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Said(int(exited.value.code or 0), out, err)

    return typed
