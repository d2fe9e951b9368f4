"""Each alert fires for what it is for, and for nothing else, as Prometheus itself evaluates it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
NAMES = [
    rule["alert"]
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
]
MINUTES = 40

Series = Mapping[str, str]
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


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus's own tool; skips where it is not installed."""
    found = shutil.which(os.environ.get("MRAG_PROMTOOL", "promtool"))
    if found is None:
        pytest.skip("needs promtool (apt-get install prometheus), or MRAG_PROMTOOL that names it")
    return found


def test_each_alert_has_its_trouble() -> None:
    """Nobody adds an alert without saying when it fires."""
    assert sorted(TROUBLE) == sorted(NAMES)


def test_prometheus_takes_the_rules(promtool: str) -> None:
    """Every rule, with its templates."""
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(NAMES)} rules found" in done.stdout


@pytest.mark.parametrize(
    ("alert", "change"), [("", {}), *CASES], ids=["well", *(name for name, _ in CASES)]
)
def test_an_alert_fires_for_its_own_trouble_alone(
    promtool: str, alert: str, change: Series, tmp_path: Path
) -> None:
    """After forty minutes of it; none where all is well."""
    series = [{"series": name, "values": values} for name, values in {**WELL, **change}.items()]
    firing = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
    asked = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{MINUTES}m",
        "exp_samples": firing,
    }
    file = tmp_path / "test.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(RULES)],
                "evaluation_interval": "1m",
                "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}],
            }
        )
    )
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
