"""Alerting rules of a file, evaluated by Prometheus's own tool on made up series."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"

# By metric with its labels: values as promtool writes them, a minute apart.
Series = Mapping[str, str]


def names_of(rules: Path) -> list[str]:
    """The file's alerts, in its order."""
    groups = yaml.safe_load(rules.read_text("utf-8"))["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def promtool() -> str:
    """Prometheus's own tool; skips where it is not installed."""
    found = shutil.which(os.environ.get("MRAG_PROMTOOL", "promtool"))
    if found is None:
        pytest.skip("needs promtool (apt-get install prometheus), or MRAG_PROMTOOL that names it")
    return found


def assert_valid(rules: Path) -> None:
    """Prometheus takes every rule, with its templates."""
    done = _run("check", "rules", str(rules))
    assert f"{len(names_of(rules))} rules found" in done


def assert_fires(
    alert: str, rules: Path, series: Series, minutes: int, folder: Path, num_series: int = 1
) -> None:
    """After so many minutes of the series the alert fires, and no other does.

    Args:
        alert: "" for none.
        num_series: for how many it fires.
    """
    labels = f'{{alertname="{alert}"}}'
    asked = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{minutes}m",
        "exp_samples": [{"labels": labels, "value": num_series}] if alert else [],
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [asked],
    }
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]})
    )
    _run("test", "rules", str(file))


def _run(*arguments: str) -> str:
    done = subprocess.run([promtool(), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
