"""The dashboard and the alerts ask only for what the service tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from fastapi import APIRouter

from mrag_pipeline import errors
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.found_answers import answer
from tests.support.http_requests import got
from tests.support.telemetry_readers import KEY, samples, watched

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "mrag.json").read_text("utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text("utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PROMETHEUS_OWN = {"up"}
SCRAPE_LABELS = {"job", "instance"}


def _board_queries() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (one["expr"] for one in BOARD["annotations"]["list"])
    for variable in BOARD["templating"]["list"]:
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
        if found:
            yield f"count by ({found[2]}) ({found[1]})"


QUERIES = [*dict.fromkeys(_board_queries()), *(rule["expr"] for rule in RULES)]


def _parsed(query: str) -> promql_parser.Expr:
    return promql_parser.parse(query.replace("$__rate_interval", "5m"))


def _selectors(query: str) -> Iterator[promql_parser.VectorSelector]:
    """Every selector of a query, however deep."""
    todo: list[Any] = [_parsed(query)]
    while todo:
        node = todo.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield node
            continue
        for name in ("expr", "lhs", "rhs", "vector_selector", "args", "param"):
            below = getattr(node, name, None)
            todo += below if isinstance(below, list) else [] if below is None else [below]


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """Every series of a service that has seen everything: its name and its labels."""
    odd = [answer(missing=("l05_h01",), num_hits=0)]
    app, observer = watched(ServeSpec(max_body_kb=1), odd)
    got(app, "/search", KEY, "POST")
    got(app, "/broken", KEY)
    got(app, "/who")
    labels: dict[str, set[str]] = {}
    for name, pairs in samples(observer):
        labels.setdefault(name, {"replica"}).update(label for label, _ in pairs)
    return labels


def test_the_queries_are_there() -> None:
    """Nothing below passes because nothing was found; and the walk finds every selector."""
    assert len(QUERIES) > 40
    nested = 'sum(rate(a[5m])) / (count(b) + -c{x="1"} offset 2m) > on() max_over_time(d[5m:1m])'
    assert {one.name for one in _selectors(nested)} == {"a", "b", "c", "d"}


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_asks_for_metrics_and_labels_that_exist(
    query: str, told: dict[str, set[str]]
) -> None:
    """As PromQL: names, the labels that are matched, and those that are grouped by."""
    known = set(SCRAPE_LABELS)
    for selector in _selectors(query):
        if selector.name in PROMETHEUS_OWN:
            continue
        assert selector.name in told, selector.name
        known |= told[selector.name]
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= told[selector.name] | SCRAPE_LABELS
    grouped = {
        label.strip()
        for group in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", query)
        for label in group.split(",")
    }
    assert grouped <= known


def _matched(label: str) -> set[str]:
    found = (
        matcher.value
        for query in QUERIES
        for selector in _selectors(query)
        for matcher in selector.matchers.matchers
        if matcher.name == label
    )
    return {value for pattern in found for value in pattern.split("|")}


def test_every_error_named_is_an_exception() -> None:
    """A renamed one would make its alert silent."""
    assert _matched("error")
    assert {name for name in _matched("error") if not hasattr(errors, name)} == set()


def test_every_route_named_is_a_route() -> None:
    """Patterns too: each meets at least one."""
    app = create_api(None, ServeSpec(), OpenGuard(), NoObserver())  # type: ignore[arg-type]
    paths = set(app.openapi()["paths"])
    assert "/v1/search" in paths
    for pattern in _matched("route"):
        assert [path for path in paths if re.fullmatch(pattern, path)], pattern


def test_a_route_of_a_router_is_told_with_its_prefix() -> None:
    """As the queries name it."""
    app, observer = watched()
    router = APIRouter(prefix="/v1")
    router.add_api_route("/things/{thing}", lambda: 1)
    app.include_router(router)
    got(app, "/v1/things/7")
    requests = [dict(labels) for name, labels in samples(observer) if name == "mrag_requests_total"]
    assert requests == [{"method": "GET", "route": "/v1/things/{thing}", "status": "200"}]


def test_every_stage_named_is_a_stage() -> None:
    """Those of an answer, and their total."""
    assert _matched("stage") == {"total"}


def test_the_dashboard_is_whole() -> None:
    """Panels have ids of their own, a query and words; none lies over another."""
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
        assert panel["type"] == "row" or panel["targets"]
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD["panels"])))
    assert used - {"__rate_interval"} <= variables


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is woken by it."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["do"].endswith(".")
