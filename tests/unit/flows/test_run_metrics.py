"""A run's metrics, and the alerts and the dashboard that ask for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexBusy, IndexUnavailable, MragError
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.flows.run_metrics import METRICS, RunMetrics
from mrag_pipeline.runtime import usage

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "runs.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
BOARD = json.loads((DEPLOY / "grafana" / "runs.json").read_text("utf-8"))
QUERIES = [
    *(rule["expr"] for rule in RULES),
    *(target["expr"] for panel in BOARD["panels"] for target in panel["targets"]),
]

Samples = dict[tuple[str, str], float]  # by name and phase


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Metrics are asked for."""
    return Config.parse(
        {
            "index": "docs",
            "staging": {"uri": str(tmp_path / "staging")},
            "notify": {"metrics_folder": str(tmp_path)},
        }
    )


def written(config: Config) -> Samples:
    """What Prometheus reads."""
    file = Path(config.notify.metrics_folder) / f"mrag_{config.index}_ingest.prom"
    return {
        (sample.name, sample.labels.get("phase", "") + sample.labels.get("fact", "")): sample.value
        for family in text_string_to_metric_families(file.read_text("utf-8"))
        for sample in family.samples
    }


def test_a_phase_is_counted_while_it_goes_on(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items, facts, what is left, retries; and after the end that there is no run."""
    monkeypatch.setattr("mrag_pipeline.flows.run_metrics.EVERY_S", 0.0)
    with logged(config, "ingest", {}):
        progress = flow_progress(config.index)
        progress.phase("embed", 8, "shards")
        progress.advance(2, {"documents": 5, "dead letters": 1})
        usage.add(retries=3)
        progress.advance(2, {"documents": 5})
        during = written(config)
        progress.finish()
    assert during["mrag_run_active", ""] == 1
    assert (during["mrag_run_items", "embed"], during["mrag_run_items_done", "embed"]) == (8, 4)
    assert during["mrag_run_facts_total", "embeddocuments"] == 10
    assert during["mrag_run_facts_total", "embeddead letters"] == 1
    assert during["mrag_run_retries_total", ""] == 3
    spent = during["mrag_run_phase_seconds", "embed"]
    assert during["mrag_run_eta_seconds", "embed"] == pytest.approx(spent)
    assert during["mrag_run_staging_free_bytes", ""] > 0
    after = written(config)
    assert (after["mrag_run_active", ""], after["mrag_run_failed", ""]) == (0, 0)
    assert after["mrag_run_eta_seconds", "embed"] == 0


def test_what_each_node_does_is_counted(config: Config) -> None:
    """From the start of the run: items, their seconds, and workers that were lost.

    0 from when a worker is up: `increase()` sees no loss in a counter that begins with 1.
    """
    node = "10.0.0.2/ab12"
    usage.add(nodes={"before": usage.NodeUsage(items=9, busy_s=9.0)})
    with logged(config, "ingest", {}):
        usage.add(nodes={node: usage.NodeUsage()})
        flow_progress(config.index).phase("embed", 8, "shards")
        assert of_node(config, node) == {"items": 0, "busy_seconds": 0, "lost_workers": 0}
        usage.add(nodes={node: usage.NodeUsage(items=2, busy_s=3.5)})
        usage.add(nodes={node: usage.NodeUsage(lost_workers=1)})
    assert of_node(config, node) == {"items": 2, "busy_seconds": 3.5, "lost_workers": 1}
    assert of_node(config, "before") == {"items": 0, "busy_seconds": 0, "lost_workers": 0}


def test_bytes_and_errors_are_counted_by_phase_and_node(config: Config) -> None:
    """What was used since a phase began is its own; a node that had no part in it is not shown."""
    embeds = usage.NodeUsage(items=1, workers=1, num_bytes=500, errors=2)
    with logged(config, "ingest", {}):
        progress = flow_progress(config.index)
        progress.phase("embed", 2, "shards")
        usage.add(nodes={"a": embeds, "b": usage.NodeUsage(workers=1)})
        progress.finish()
        progress.phase("load", 3, "rows")
        usage.add(nodes={"b": usage.NodeUsage(items=1, num_bytes=70)})
        usage.add(nodes={usage.DRIVER: usage.NodeUsage(workers=1)})
        progress.finish()
    assert of_phases(config, "bytes") == {
        ("embed", "a"): 500, ("embed", "b"): 0, ("load", "b"): 70, ("load", "driver"): 0,
    }  # fmt: skip
    # 0 from the start of a phase: `increase()` sees no error in a counter that begins with 1.
    assert of_phases(config, "errors") == {
        ("embed", "a"): 2, ("embed", "b"): 0, ("load", "b"): 0, ("load", "driver"): 0,
    }  # fmt: skip


def of_phases(config: Config, name: str) -> dict[tuple[str, str], float]:
    """What Prometheus reads of a counter, by phase and node."""
    file = Path(config.notify.metrics_folder) / f"mrag_{config.index}_ingest.prom"
    return {
        (sample.labels["phase"], sample.labels["node"]): sample.value
        for family in text_string_to_metric_families(file.read_text("utf-8"))
        for sample in family.samples
        if sample.name == f"mrag_run_{name}_total"
    }


def of_node(config: Config, node: str) -> dict[str, float]:
    """What Prometheus reads of a node."""
    file = Path(config.notify.metrics_folder) / f"mrag_{config.index}_ingest.prom"
    return {
        sample.name.removeprefix("mrag_run_node_").removesuffix("_total"): sample.value
        for family in text_string_to_metric_families(file.read_text("utf-8"))
        for sample in family.samples
        if sample.labels.get("node") == node and "phase" not in sample.labels
    }


def test_a_failed_run_says_so(config: Config) -> None:
    """And the next one does not."""
    with pytest.raises(ValueError, match="no"), logged(config, "ingest", {}):
        raise ValueError("no")
    assert written(config)["mrag_run_failed", ""] == 1
    with logged(config, "ingest", {}):
        flow_progress(config.index).phase("plan", 1, "files")
        assert written(config)["mrag_run_failed", ""] == 0


def test_a_folder_that_is_missing_stops_no_run(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once."""
    lost = config.model_copy(
        update={"notify": Config.parse({"notify": {"metrics_folder": "/no/such"}}).notify}
    )
    with logged(lost, "ingest", {}):
        progress = flow_progress(lost.index)
        for name in ("plan", "embed"):
            progress.phase(name, 1, "items")
            progress.advance(1)
            progress.finish()
    assert caplog.text.count("run_metrics_not_written") == 1


def test_a_write_that_fails_once_is_not_the_last(config: Config, tmp_path: Path) -> None:
    """The run's end is written, too."""
    folder = tmp_path / "later"
    waiting = config.model_copy(
        update={"notify": Config.parse({"notify": {"metrics_folder": str(folder)}}).notify}
    )
    with logged(waiting, "ingest", {}):
        flow_progress(waiting.index).phase("plan", 1, "files")
        folder.mkdir()
    assert written(waiting)["mrag_run_active", ""] == 0


def test_metrics_are_written_before_the_first_phase(config: Config) -> None:
    """An old file would show the run before."""
    with logged(config, "ingest", {}):
        assert written(config)["mrag_run_active", ""] == 1


def test_a_run_that_waits_is_alive(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece of work may take hours: it did not move meanwhile."""
    monkeypatch.setattr("mrag_pipeline.flows.run_metrics.ALIVE_S", 0.01)
    with logged(config, "ingest", {}):
        flow_progress(config.index).phase("load", 1, "collections")
        before = written(config)
        until = time.monotonic() + 30.0
        while (now := written(config))["mrag_run_alive_seconds", ""] == before[
            "mrag_run_alive_seconds", ""
        ] and time.monotonic() < until:
            time.sleep(0.01)
    assert now["mrag_run_alive_seconds", ""] > before["mrag_run_alive_seconds", ""]
    assert now["mrag_run_moved_seconds", ""] == before["mrag_run_moved_seconds", ""]


def test_an_interrupted_run_has_not_failed(config: Config) -> None:
    """As `mrag runs` says: whoever pressed Ctrl-C knows."""
    with pytest.raises(KeyboardInterrupt), logged(config, "ingest", {}):
        raise KeyboardInterrupt
    after = written(config)
    assert (after["mrag_run_active", ""], after["mrag_run_failed", ""]) == (0, 0)


@pytest.mark.parametrize(
    ("error", "failed"),
    [(IndexBusy("a run", "none", "wait"), 0), (IndexUnavailable("gone", "a server", "start"), 1)],
)
def test_a_refused_run_leaves_the_metrics_of_the_one_at_work(
    config: Config, error: MragError, failed: int
) -> None:
    """A run that cannot even reach the index has failed."""

    @contextmanager
    def lock() -> Iterator[None]:
        raise error
        yield

    with logged(config, "ingest", {}):
        with pytest.raises(type(error)), logged(config, "ingest", {}, lock()):
            pass
        during = written(config)
    assert (during["mrag_run_active", ""], during["mrag_run_failed", ""]) == (1 - failed, failed)


def test_without_a_folder_nothing_is_counted(config: Config, tmp_path: Path) -> None:
    """As before."""
    plain = config.model_copy(update={"notify": Config().notify})
    with logged(plain, "ingest", {}):
        flow_progress(plain.index).phase("plan", 1, "files")
    assert not list(tmp_path.glob("*.prom"))


def test_labels_may_hold_anything(tmp_path: Path) -> None:
    """The text stays one that Prometheus reads."""
    metrics = RunMetrics(tmp_path / "a.prom", 'a"b', "in\nge\\st", lambda: None)
    metrics.phase("embed", 1, 'sh"ards')
    [family] = [
        family
        for family in text_string_to_metric_families(metrics.text())
        if family.name == "mrag_run_active"
    ]
    assert family.samples[0].labels == {"index": 'a"b', "kind": "in\nge\\st"}


def selected(query: str) -> Iterator[str]:
    """The metrics that a query asks for, however deep."""
    todo = [promql_parser.parse(query.replace("$__rate_interval", "5m"))]
    while todo:
        node = todo.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield str(node.name)
            continue
        for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
            below = getattr(node, name, None)
            todo += below if isinstance(below, list) else [] if below is None else [below]


@pytest.mark.parametrize("query", QUERIES)
def test_alerts_and_dashboard_ask_for_what_a_run_writes(query: str) -> None:
    """Every metric of every query."""
    names = list(selected(query))
    assert names
    assert set(names) <= {name for name, _, _ in METRICS}


def test_alerts_are_of_runs_that_go_on() -> None:
    """All but that of a failed run: the last state stays in the file."""
    ended = {"MragRunFailed"}
    active = {rule["alert"] for rule in RULES if "mrag_run_active == 1" in rule["expr"]}
    assert active == {rule["alert"] for rule in RULES} - ended


def test_every_alert_says_what_to_do() -> None:
    """In its annotations."""
    assert all(rule["annotations"]["summary"] and rule["annotations"]["do"] for rule in RULES)
