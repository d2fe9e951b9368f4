from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mrag_pipeline.quick_imports import quick_imports

NAME = "rfc3987_syntax"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name, which nothing has imported."""
    (tmp_path / f"{NAME}.py").write_text("BUILT = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)


@pytest.mark.usefixtures("installed")
def test_what_nothing_needs_is_hidden_within_and_there_afterwards() -> None:
    """Other code of the process may want it."""
    with quick_imports():
        with quick_imports(), pytest.raises(ImportError):
            import_module(NAME)
        assert not gc.isenabled()
    assert gc.isenabled()
    assert import_module(NAME).BUILT
    with quick_imports():
        assert import_module(NAME).BUILT
