"""Each alert fires for what it is for, and for nothing else, as Prometheus itself evaluates it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.alert_rules import PROMETHEUS, Series, assert_fires, assert_valid, names_of

RULES = PROMETHEUS / "alerts.yaml"
MINUTES = 40

WELL: Series = {
    'up{job="mrag"}': "1x40",
    'mrag_requests_total{job="mrag", route="/v1/search", status="200"}': "0+60x40",
    'mrag_request_seconds_bucket{job="mrag", route="/v1/search", le="0.1"}': "0+60x40",
    'mrag_request_seconds_bucket{job="mrag", route="/v1/search", le="+Inf"}': "0+60x40",
    'mrag_live_version_info{job="mrag", replica="a", version="v1"}': "1x40",
    'mrag_live_version_info{job="mrag", replica="b", version="v1"}': "1x40",
}


def errors(name: str, values: str = "0+5x40") -> Series:
    return {f'mrag_errors_total{{job="mrag", error="{name}"}}': values}


def requests(status: str, values: str) -> Series:
    return {f'mrag_requests_total{{job="mrag", route="/v1/search", status="{status}"}}': values}


# What is different from all being well, by the alert that says so. A minute is a step.
TROUBLE: Mapping[str, list[Series]] = {
    "MragDown": [{'up{job="mrag"}': "0x40"}],
    "MragNotReady": [errors("NotReady"), errors("NoLiveVersion")],
    "MragFailing": [requests("503", "0+5x40"), requests("504", "0+1x40")],
    "MragInternalErrors": [
        requests("500", "0+0.2x40"),
        requests("500", "_x36 1 1 1 1"),  # the first one: nothing was counted before
    ],
    "MragIndexNotAnswering": [errors("IndexUnavailable"), errors("IndexBusy")],
    "MragHeadsMissing": [
        errors("HeadsMissing"),
        {'mrag_heads_missing_total{job="mrag", head="l05_h07"}': "0+1x40"},
    ],
    "MragSlow": [
        {
            'mrag_request_seconds_bucket{job="mrag", route="/v1/search", le="2.5"}': "0+50x40",
            'mrag_request_seconds_bucket{job="mrag", route="/v1/search", le="0.1"}': "0x40",
        }
    ],
    "MragOverloaded": [errors("Overloaded"), errors("OutOfTime")],
    "MragKeysGuessed": [{'mrag_refused_total{job="mrag", status="401", caller=""}': "0+120x40"}],
    "MragCallerLimited": [
        {'mrag_refused_total{job="mrag", status="429", caller="acme"}': "0+12x40"}
    ],
    "MragVersionsDiffer": [
        {'mrag_live_version_info{job="mrag", replica="b", version="v1"}': "_x40",
         'mrag_live_version_info{job="mrag", replica="b", version="v2"}': "1x40"},
    ],
}  # fmt: skip
CASES = [(name, change) for name, changes in TROUBLE.items() for change in changes]


def test_each_alert_has_its_trouble() -> None:
    """Nobody adds an alert without saying when it fires."""
    assert sorted(TROUBLE) == sorted(names_of(RULES))


def test_prometheus_takes_the_rules() -> None:
    """Every rule, with its templates."""
    assert_valid(RULES)


@pytest.mark.parametrize(
    ("alert", "change"), [("", {}), *CASES], ids=["well", *(name for name, _ in CASES)]
)
def test_an_alert_fires_for_its_own_trouble_alone(
    alert: str, change: Series, tmp_path: Path
) -> None:
    """After forty minutes of it; none where all is well."""
    assert_fires(alert, RULES, {**WELL, **change}, MINUTES, tmp_path)
