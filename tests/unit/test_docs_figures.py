"""The figures of retrieval that the docs show are those that benchmarks/quality.py has written."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES: dict[str, dict[str, dict[str, float]]] = json.loads(
    (ROOT / "benchmarks/figures/retrieval.json").read_text()
)


def rows_of(page: str, header: str) -> tuple[list[str], list[list[str]]]:
    """The columns' names and the rows of the page's table whose header starts so."""
    lines = (ROOT / page).read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(header))
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    cells = [
        [re.sub(r"[*`]", "", cell).strip() for cell in line.strip("| ").split("|")]
        for line in table
    ]
    return cells[0], cells[2:]


def shown(measured: dict[str, float], label: str, with_interval: bool) -> str:
    value = f"{measured[label]:.3f}"
    if not with_interval:
        return value
    return f"{value} [{measured[f'{label} low']:.3f}, {measured[f'{label} high']:.3f}]"


@pytest.mark.parametrize("table", ["| set | measure | standard", "| set | measure | adaptive"])
def test_the_tables_of_the_page(table: str) -> None:
    """Every cell, every set."""
    columns, rows = rows_of("docs/retrieval.md", table)
    assert {row[0] for row in rows} == set(FIGURES)
    for name, measure, *cells in rows:
        for column, cell in zip(columns[2:], cells, strict=True):
            is_difference = column.startswith("over ")
            strategy = columns[2] if is_difference else column
            label = f"{measure} {column}" if is_difference else measure
            right = shown(FIGURES[name][strategy], label, "[" in cell)
            assert cell == right, (name, measure, column)


def test_the_table_of_the_readme() -> None:
    """Each row names its set and measure."""
    columns, rows = rows_of("README.md", "| a question")
    assert len(rows) == 4
    for _, about, *cells in rows:
        name, measure = about.split(", ")
        for column, cell in zip(columns[2:], cells, strict=True):
            assert cell == shown(FIGURES[name][column], measure, "[" in cell), (name, column)


def test_the_costs_of_the_page() -> None:
    """Windows, searches, milliseconds of CPU."""
    _, rows = rows_of("docs/retrieval.md", "| set | strategy | windows")
    for name, strategy, *cells in rows:
        measured = FIGURES[name][strategy]
        assert cells == [f"{measured[label]:.1f}" for label in ("windows", "searches", "cpu ms")]


def test_the_sizes_of_install() -> None:
    """As `python benchmarks/install.py` has written them."""
    figures = json.loads((ROOT / "benchmarks/figures/install.json").read_text())
    _, rows = rows_of("docs/install.md", "| size | brings")
    assert {size: cells for size, _, *cells in rows} == {
        size: [f"{each['megabytes']:,} MB", str(each["distributions"])]
        for size, each in figures.items()
    }
    page = (ROOT / "docs/install.md").read_text()
    assert f"takes {figures['client']['import_s']} s of CPU" in page.replace("\n", " ")


def of_speed(mark: str) -> list[str]:
    """The rows that the serving page shows between these marks."""
    page = (ROOT / "docs/serving.md").read_text("utf-8")
    shown = page.partition(f"<!-- {mark}: begin -->")[2].partition(f"<!-- {mark}: end -->")[0]
    return shown.strip().splitlines()[2:]


def test_the_waits_of_the_serving_page() -> None:
    """Those of benchmarks/waits.py and speed.py's demo in seconds, in their order."""
    measured = json.loads((ROOT / "benchmarks/figures/speed.json").read_text())
    assert of_speed("speed") == [
        f"| {name} | {one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}] |"
        for name, one in measured.items()
        if one["unit"] == "s"
    ]


def test_the_prices_of_the_serving_page() -> None:
    """Those of benchmarks/price.py, in its order: milliseconds, answers a second, ratios."""
    measured = json.loads((ROOT / "benchmarks/figures/speed.json").read_text())
    rows = [
        f"| {name} | {one['value']:g} [{one['low']:g}, {one['high']:g}] {one['unit']} |"
        for name, one in measured.items()
        if name.startswith(("plain, ", "default"))
    ]
    assert rows
    assert of_speed("price") == rows


def test_the_costs_of_the_comparison_page() -> None:
    """Those of benchmarks/ingest.py, in its order; of one round, without its spread."""
    measured = json.loads((ROOT / "benchmarks/figures/ingest.json").read_text())
    titles = dict.fromkeys(name.rpartition(", ")[0] for name in measured)

    def cell(one: dict[str, float]) -> str:
        spread = "" if one["low"] == one["high"] else f" [{one['low']:g}, {one['high']:g}]"
        return f"{one['value']:g}{spread}"

    page = (ROOT / "docs/comparison.md").read_text("utf-8")
    shown = page.partition("<!-- ingest: begin -->")[2].partition("<!-- ingest: end -->")[0]
    assert shown.strip().splitlines()[2:] == [
        f"| {title} | "
        + " | ".join(cell(measured[f"{title}, {what}"]) for what in ("wall", "CPU", "memory"))
        + " |"
        for title in titles
    ]


def kills_table(figures: dict[str, dict[str, Any]]) -> str:
    """What benchmarks/kills.py has reached, by what was killed."""
    lines = ["| killed | times | s until the command ended or answered again, median (most) |"]
    lines.append("|---|---:|---:|")
    prefix = "kills, process "
    for name in (name for name in figures if name.startswith(prefix)):
        process = name.removeprefix(prefix)
        seconds = figures[f"until the command ended or answered, {process}"]
        times = f"{figures[name]['value']:.0f}"
        lines.append(f"| {process} | {times} | {seconds['value']:.1f} ({seconds['high']:.1f}) |")
    found = [
        f"{figures[name]['value']:.0f} {name}"
        for name in ("rows lost", "rows doubled", "indexes compared row by row and audited")
    ]
    total, faults = (int(figures[name]["value"]) for name in ("kills", "faults"))
    faulty = "1 fault" if faults == 1 else f"{faults} faults"
    lines.append(f"| **all: {'; '.join(found)}; {faulty}** | **{total}** | |")
    return "\n".join(lines)


def test_the_kills_that_are_shown_are_those_that_were_done() -> None:
    """By process, as benchmarks/figures/kills.json has them."""
    figures = json.loads((ROOT / "benchmarks/figures/kills.json").read_text())
    assert kills_table(figures) in (ROOT / "docs/reliability.md").read_text("utf-8")
