"""Flows in plain calls in the tests' own process, where others may have made them Prefect's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from mrag_pipeline import flows
from mrag_pipeline.cli import flow_runs
from mrag_pipeline.flows import engine

DEFINED_IN = (
    *("audit", "chosen_version", "evaluate", "export", "import_version", "ingest", "push"),
    *("repair", "retire", "sync"),
)


@contextmanager
def plain_flows() -> Iterator[None]:
    """Commands that are typed here run their flows in plain calls, and nobody records them.

    The modules that define flows and tasks are imported anew within the block, when a command first
    needs them; after it, those of before are there again.
    """
    names = {f"{flows.__name__}.{module}": module for module in DEFINED_IN}
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_runs, "reporting", nullcontext)
        patch.setattr(engine, "_is_plain", True)
        patch.setattr(engine, "are_prefects_own", lambda: False)
        try:
            yield
        finally:
            for name, module in names.items():
                sys.modules.pop(name, None)
                vars(flows).pop(module, None)
                if name in before:
                    sys.modules[name] = before[name]
                    setattr(flows, module, before[name])
