"""Flows that are refused, as another run is at work on the index."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexBusy
from mrag_pipeline.flows.export import export
from mrag_pipeline.flows.import_version import import_version
from mrag_pipeline.flows.ingest import ingest
from mrag_pipeline.flows.push import push
from mrag_pipeline.flows.repair import repair
from mrag_pipeline.flows.retire import retire
from mrag_pipeline.flows.sync import sync
from mrag_pipeline.wiring import at_work


@pytest.mark.parametrize("run", [ingest, sync, push, retire, repair, export, import_version])
def test_a_refused_run_is_kept_and_does_not_touch_the_metrics(
    run: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the run at work."""

    @contextmanager
    def refused(*_: object) -> Iterator[None]:
        raise IndexBusy("a run", "none", "wait")
        yield

    monkeypatch.setattr(at_work, "run_lock", refused)
    settings = {
        "index": "docs",
        "staging": {"uri": str(tmp_path / "staging")},
        "notify": {"metrics_folder": str(tmp_path)},
    }
    name = inspect.unwrap(run).__name__
    folder = {"folder": str(tmp_path)} if name in ("export", "import_version") else {}
    with pytest.raises(IndexBusy):
        inspect.unwrap(run)(**folder, settings=settings)
    assert not list(tmp_path.glob("*.prom"))
    [kept] = wiring.run_files(Config.parse(settings)).latest(9)
    assert (kept.kind, kept.state) == (name.removesuffix("_version"), "failed")
