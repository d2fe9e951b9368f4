"""Each alert of runs fires for what it is for, and for nothing else, as Prometheus evaluates it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.alert_rules import PROMETHEUS, Series, assert_fires, assert_valid, names_of

RULES = PROMETHEUS / "runs.yaml"
MINUTES = 300

# Promtool's clock begins at 0, and a minute is a step: what is written each minute counts by 60.
NOW = f"0+60x{MINUTES}"


def run(metric: str, labels: str = "") -> str:
    return f'mrag_run_{metric}{{index="docs", kind="ingest"{labels}}}'


def phase(metric: str, more: str = "") -> str:
    return run(metric, f', phase="load"{more}')


WELL: Series = {
    run("active"): f"1x{MINUTES}",
    run("failed"): f"0x{MINUTES}",
    run("alive_seconds"): NOW,
    run("moved_seconds"): NOW,
    run("staging_free_bytes"): f"500000000000x{MINUTES}",
    phase("items", ', unit="rows"'): f"1000x{MINUTES}",
    phase("items_done", ', unit="rows"'): f"0+3x{MINUTES}",
    phase("facts_total", ', fact="documents"'): f"0+100x{MINUTES}",
    phase("facts_total", ', fact="dead letters"'): f"0+1x{MINUTES}",
    phase("errors_total", ', node="a"'): f"0+0.1x{MINUTES}",
    # A phase that ended three hours ago.
    run("items", ', phase="embed", unit="shards"'): f"120x{MINUTES}",
    run("items_done", ', phase="embed", unit="shards"'): "0+1x120 120x180",
}

DONE = phase("items_done", ', unit="rows"')
ENDED: Series = {run("active"): f"0x{MINUTES}"}

# What is different from all being well, by the alert that says so.
TROUBLE: Mapping[str, list[Series]] = {
    "MragRunGone": [{run("alive_seconds"): "0+60x290 17400x10"}],
    "MragRunStalled": [
        {run("moved_seconds"): "0+60x50 3000x250", DONE: "0+3x50 150x250"},
    ],
    "MragRunSlower": [
        {DONE: "0+3x260 780+0.3x40"},  # a tenth
        {DONE: "0+3x260 780x40"},  # nothing any more
    ],
    "MragRunDeadLetters": [{phase("facts_total", ', fact="dead letters"'): f"0+5x{MINUTES}"}],
    "MragRunRetries": [{retries: f"21x{MINUTES}"} for retries in (run("retries_total"),)],
    "MragRunNodeErrors": [{phase("errors_total", ', node="a"'): f"0+1x{MINUTES}"}],
    "MragRunDisk": [{run("staging_free_bytes"): f"9000000000x{MINUTES}"}],
    "MragRunFailed": [{**ENDED, run("failed"): f"1x{MINUTES}"}],
}
CASES = [(name, change) for name, changes in TROUBLE.items() for change in changes]
WELL_TOO: list[Series] = [
    {},
    # Ended: an hour ago, with all that the run has counted still in its file.
    {run("active"): "1x240 0x60", run("alive_seconds"): "0+60x240 14400x60",
     run("moved_seconds"): "0+60x240 14400x60"},
    # A phase is done, and what follows in it, such as an index that the server builds, is not.
    {DONE: "0+4x250 1000x50"},
]  # fmt: skip


def test_each_alert_has_its_trouble() -> None:
    """Nobody adds an alert without saying when it fires."""
    assert sorted(TROUBLE) == sorted(names_of(RULES))


def test_prometheus_takes_the_rules() -> None:
    """Every rule, with its templates."""
    assert_valid(RULES)


@pytest.mark.parametrize("change", WELL_TOO)
def test_no_alert_fires_where_all_is_well(change: Series, tmp_path: Path) -> None:
    """After five hours."""
    assert_fires("", RULES, {**WELL, **change}, MINUTES, tmp_path)


@pytest.mark.parametrize(("alert", "change"), CASES, ids=[name for name, _ in CASES])
def test_an_alert_fires_for_its_own_trouble_alone(
    alert: str, change: Series, tmp_path: Path
) -> None:
    """After five hours, the last of them with it."""
    assert_fires(alert, RULES, {**WELL, **change}, MINUTES, tmp_path)
