"""The crash table: kills every command before each of its writes and runs it again.

`python -m tests.support.crash_table` writes the table into docs/reliability.md.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mrag_pipeline.errors import StorageFull
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.builds import RecordingProgress
from tests.support.crash_scenarios import FIRST, Scenario, scenarios
from tests.support.living_index import Living, audited, content_of
from tests.support.scripted_kills import Killable, Killed, Switch

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- crash table: begin -->", "<!-- crash table: end -->"


@dataclass(frozen=True)
class Outcome:
    """One kill and the state after the command ran again."""

    scenario: str
    point: str
    problems: tuple[str, ...]  # empty: the state is that of an undisturbed run


def outcomes(end: BaseException | None = None, every: int = 1) -> Iterator[Outcome]:
    """Every scenario ended before each of its writes, then run again.

    Args:
        end: the exception that ends it; None is a kill.
        every: before the first of so many writes only.
    """
    with tempfile.TemporaryDirectory() as folder, _no_fsync():
        for scenario in scenarios():
            place = Path(folder) / scenario.name
            yield from _ended_everywhere(scenario, place, end or Killed(), every)


def _ended_everywhere(
    scenario: Scenario, folder: Path, end: BaseException, every: int
) -> Iterator[Outcome]:
    def ended(_: str) -> None:
        raise end

    start = Living(folder / "start" / "staging", FIRST, shard_bytes=200, num_heads=2)
    scenario.prepare(start)
    undisturbed = _copied(start, folder / "undisturbed")
    switch = Switch()
    with _killable(undisturbed, switch):
        scenario.run(undisturbed)
    expected = _state(undisturbed)
    torn_before = torn(start.index)  # what a repair starts from
    for number, point in list(enumerate(switch.points))[::every]:
        living = _copied(start, folder / f"killed-{number:03d}")
        problems = []
        killed = False
        try:
            with _killable(living, Switch(number, ended)):
                scenario.run(living)
        except type(end):
            killed = True
        # A cache that does not fit is left out, and the run goes on.
        is_left_out = isinstance(end, StorageFull) and "read_cache" in point
        if not killed and not is_left_out:
            problems.append("the run did not reach this point")
        problems += sorted({*torn(living.index)} - {*torn_before})
        # As a new process would: new objects over the same stores, then the same command.
        again = replace(living, progress=RecordingProgress(), embedded=0)
        scenario.run(again)
        problems += torn(again.index)
        if again.index.live() is not None:
            problems += [
                str(finding)
                for finding in audited(again).findings
                if scenario.is_staging_whole or not finding.where.startswith("staging ")
            ]
        if _state(again) != expected:
            problems.append("the state differs from that of an undisturbed run")
        shutil.rmtree(folder / f"killed-{number:03d}")
        yield Outcome(scenario.name, point, tuple(problems))


def torn(index: VectorIndex) -> list[str]:
    """Chunks that a reader of the live version would find in some heads only."""
    if index.live() is None:
        return []
    record = live_record(index)
    chunks = _ids(index, record.chunks_collection())
    return [
        f"{name} lacks chunks that can be seen"
        for name in record.head_collections()
        if index.damage(name) is not None or chunks - _ids(index, name)
    ]


def _state(living: Living) -> object:
    """Everything a run leaves: versions, records without their times, rows, the export."""
    index = living.index
    records = [
        (
            record.version,
            record.num_documents,
            record.num_chunks,
            record.syncs,
            record.pending,
            [round(float(weight), 9) for weight in record.importance()],
        )
        for record in sorted(index.records(), key=lambda record: record.version)
    ]
    content = content_of(index) if index.live() is not None else {}
    export_folder = living.folder.parent / "export"
    exported = sorted(
        str(f.relative_to(export_folder)) for f in export_folder.rglob("*") if f.is_file()
    )
    return records, index.live(), index.collections(), content, exported


@contextmanager
def _killable(living: Living, switch: Switch) -> Iterator[None]:
    inner = living.index
    living.index = Killable(inner, switch)
    try:
        with switch.over_staging():
            yield
    finally:
        living.index = inner


def _copied(living: Living, folder: Path) -> Living:
    base = living.folder.parent
    if base.exists():
        shutil.copytree(base, folder)
    index = copy.deepcopy(living.index)
    return replace(
        living, folder=folder / "staging", index=index, progress=RecordingProgress(), embedded=0
    )


def _ids(index: VectorIndex, name: str) -> set[int]:
    return {int(i) for block in index.ids(name) for i in block}


@contextmanager
def _no_fsync() -> Iterator[None]:
    # Kills lose no data that was written; only a power cut would.
    fsync = os.fsync
    os.fsync = lambda _: None  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = fsync


# ------------------------------------------------------------------ the page
def table(all_outcomes: list[Outcome]) -> str:
    """A row for each command and kind of write: the number of kills and of failures."""
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in all_outcomes:
        rows.setdefault((outcome.scenario, _kind(outcome.point)), []).append(outcome)
    lines = [
        "| command | killed before | points | not as undisturbed |",
        "|---|---|---:|---:|",
    ]
    for (scenario, kind), row_outcomes in rows.items():
        num_failed = sum(bool(outcome.problems) for outcome in row_outcomes)
        lines.append(f"| {scenario} | {kind} | {len(row_outcomes)} | {num_failed} |")
    num_failed = sum(bool(outcome.problems) for outcome in all_outcomes)
    lines.append(f"| **all** | | **{len(all_outcomes)}** | **{num_failed}** |")
    return "\n".join(lines)


def _kind(point: str) -> str:
    return re.sub(r"\d+", "N", point)


def main() -> None:
    """Writes the table between its marks in the page."""
    all_outcomes = list(outcomes())
    for outcome in all_outcomes:
        for problem in outcome.problems:
            print(f"{outcome.scenario}, before {outcome.point}: {problem}")
    page = PAGE.read_text("utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(all_outcomes)}\n{END}{after}", "utf-8")
    num_failed = sum(bool(outcome.problems) for outcome in all_outcomes)
    print(f"{len(all_outcomes)} kill points, {num_failed} not recovered")


if __name__ == "__main__":
    main()
