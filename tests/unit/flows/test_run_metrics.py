"""A run's metrics, and the alerts and the dashboard that ask for them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexBusy, IndexUnavailable, MragError
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.flows.run_metric_names import METRICS
from mrag_pipeline.flows.run_metrics import RunMetrics
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
    """Items, facts, what is left; and after the end that there is no run."""
    monkeypatch.setattr("mrag_pipeline.flows.run_metrics.EVERY_S", 0.0)
    with logged(config, "ingest", {}):
        progress = flow_progress(config.index)
        progress.phase("embed", 8, "shards")
        progress.advance(2, {"documents": 5, "dead letters": 1})
        progress.advance(2, {"documents": 5})
        during = written(config)
        progress.finish()
    assert during["mrag_run_active", ""] == 1
    assert (during["mrag_run_items", "embed"], during["mrag_run_items_done", "embed"]) == (8, 4)
    assert during["mrag_run_facts_total", "embeddocuments"] == 10
    assert during["mrag_run_facts_total", "embeddead letters"] == 1
    spent = during["mrag_run_phase_seconds", "embed"]
    assert during["mrag_run_eta_seconds", "embed"] == pytest.approx(spent)
    assert during["mrag_run_staging_free_bytes", ""] > 0
    after = written(config)
    assert (after["mrag_run_active", ""], after["mrag_run_failed", ""]) == (0, 0)
    assert after["mrag_run_eta_seconds", "embed"] == 0


def test_a_phase_without_progress_is_one_piece_of_work(config: Config) -> None:
    """Planning, calibrating and publishing; one that tells its progress is shown by that."""
    clock = PhaseTimes()

    def embeds() -> None:
        progress = flow_progress(config.index)
        progress.phase("embed", 8, "shards")
        progress.advance(8)
        progress.finish()

    with logged(config, "ingest", clock.seconds):
        clock.time("plan", lambda: None)
        clock.time("embed", embeds)
        during = written(config)
        assert (during["mrag_run_items", "plan"], during["mrag_run_items_done", "plan"]) == (1, 1)
        assert during["mrag_run_phase_seconds", "plan"] >= 0
        assert during["mrag_run_items", "embed"] == 8
        clock.time("calibrate", lambda: flow_progress(config.index).phase("ask", 1, "questions"))
        with pytest.raises(ValueError, match="no"):
            clock.time("publish", fails)
        flow_progress(config.index).phase("again", 1, "items")
        after = written(config)
    assert after["mrag_run_items_done", "calibrate"] == 1
    assert (after["mrag_run_items", "publish"], after["mrag_run_items_done", "publish"]) == (1, 0)
    assert ("mrag_run_eta_seconds", "publish") not in after


def fails() -> None:
    """As a phase may."""
    raise ValueError("no")


def test_work_is_counted_by_phase_and_node(config: Config) -> None:
    """What was used since a phase began is its own; a node that had no part in it is not shown.

    0 from when a worker is up: `increase()` sees no error in a counter that begins with 1.
    """
    usage.add(nodes={"before": usage.NodeUsage(items=9, busy_s=9.0)})
    embeds = usage.NodeUsage(2, 3.5, workers=1, num_bytes=500, num_rows=90, errors=2, retries=1)
    loads = usage.NodeUsage(3, 0.5, lost_workers=1, num_bytes=70, num_rows=8, errors=3, retries=3)
    with logged(config, "ingest", {}):
        progress = flow_progress(config.index)
        progress.phase("embed", 2, "shards")
        usage.add(nodes={"a": embeds, "b": usage.NodeUsage(workers=1)})
        progress.finish()
        progress.phase("load", 3, "rows")
        usage.add(nodes={"b": loads})
        usage.add(nodes={usage.DRIVER: usage.NodeUsage(workers=1)})
        progress.finish()
    wanted = {
        "bytes": (500, 70), "rows": (90, 8), "errors": (2, 3), "retries": (1, 3),
        "node_items": (2, 3), "node_busy_seconds": (3.5, 0.5), "node_lost_workers": (0, 1),
    }  # fmt: skip
    for name, (in_embed, in_load) in wanted.items():
        assert of_phases(config, name) == {
            ("embed", "a"): in_embed, ("embed", "b"): 0, ("load", "b"): in_load,
            ("load", "driver"): 0,
        }, name  # fmt: skip


def of_phases(config: Config, name: str) -> dict[tuple[str, str], float]:
    """What Prometheus reads of a counter, by phase and node."""
    file = Path(config.notify.metrics_folder) / f"mrag_{config.index}_ingest.prom"
    return {
        (sample.labels["phase"], sample.labels["node"]): sample.value
        for family in text_string_to_metric_families(file.read_text("utf-8"))
        for sample in family.samples
        if sample.name == f"mrag_run_{name}_total"
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


def test_every_metric_is_told_of_and_asked_for() -> None:
    """In the pages, and by the dashboard or an alert; only the start is for whoever wants it."""
    names = {name for name, _, _ in METRICS}
    page = (DEPLOY.parent / "docs" / "operations.md").read_text("utf-8")
    assert names <= set(re.findall(r"`(mrag_run_\w+)`", page))
    asked = {name for query in QUERIES for name in selected(query)}
    assert names - asked == {"mrag_run_started_seconds"}


@pytest.fixture
def labels(tmp_path: Path) -> dict[str, set[str]]:
    """Those of each metric of a run in which everything happened."""
    metrics = RunMetrics(tmp_path / "a.prom", "docs", "ingest", lambda: 1)
    metrics.phase("embed", 2, "shards")
    metrics.advance("embed", 1, {"documents": 1})
    usage.add(nodes={"a": usage.NodeUsage(items=1)})
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
    }


@pytest.mark.parametrize("query", QUERIES)
def test_queries_group_by_labels_that_exist(query: str, labels: dict[str, set[str]]) -> None:
    """A label that no metric of the query has would make one line of all."""
    known = set[str]().union(*(labels[name] for name in selected(query)))
    groups = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query)
    assert {label.strip() for group in groups for label in group.split(",")} <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_the_value_that_it_is_about(
    rule: dict[str, Any], labels: dict[str, set[str]]
) -> None:
    """`and` gives the value of what stands before it; labels are those of a metric there."""
    before = rule["expr"].split(" and ")[0]
    summary = rule["annotations"]["summary"]
    if "$value" in summary:
        assert "mrag_run_active" not in before
    known = set[str]().union(*(labels[name] for name in selected(before)))
    grouped = re.match(r"\s*sum by \(([^)]*)\)", before)
    if grouped:
        known = {label.strip() for label in grouped[1].split(",")}
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= known


def test_alerts_are_of_runs_that_go_on() -> None:
    """All but that of a failed run: the last state stays in the file."""
    ended = {"MragRunFailed"}
    active = {rule["alert"] for rule in RULES if "mrag_run_active == 1" in rule["expr"]}
    assert active == {rule["alert"] for rule in RULES} - ended


def test_every_alert_says_what_to_do() -> None:
    """In its annotations."""
    assert all(rule["annotations"]["summary"] and rule["annotations"]["do"] for rule in RULES)
