"""The crash table: kills every command before each of its writes and runs it again.

`python -m tests.support.crash_table` writes the table into docs/reliability.md.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from unittest import mock

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StorageFull
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.retire import RetireSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.ingest.publish import activate
from mrag_pipeline.stages.versions import export as export_stage
from mrag_pipeline.stages.versions.export import export_version
from mrag_pipeline.stages.versions.import_version import import_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.retire import retire
from mrag_pipeline.staging.exports import open_export
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.builds import RecordingProgress
from tests.support.damaged_versions import damaged, damaged_without_staging
from tests.support.living_index import Living, a_document, audited, content_of, repaired
from tests.support.ranged_index import RangedIndex
from tests.support.scripted_kills import Killable, Killed, Switch

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- crash table: begin -->", "<!-- crash table: end -->"
FIRST = [a_document(i) for i in range(6)]
_RANGE_BYTES = 200.0  # of the chunks or words a shard, of a head two
_FROM_ROWS = partial(repaired, with_staging=False)
CHANGED = [a_document(0, edition=1), *FIRST[2:], a_document(7)]


@dataclass(frozen=True)
class Scenario:
    """A command, and the state it starts from."""

    name: str
    prepare: Callable[[Living], None]
    run: Callable[[Living], object]


@dataclass(frozen=True)
class Outcome:
    """One kill and the state after the command ran again."""

    scenario: str
    point: str
    problems: tuple[str, ...]  # empty: the state is that of an undisturbed run


def scenarios() -> list[Scenario]:
    """The commands that are killed."""
    return [
        Scenario("ingest", lambda _: None, lambda living: living.ingest()),
        Scenario("ingest in ranges", _staged_for_ranges, lambda living: living.ingest()),
        Scenario("sync", _with_changes, lambda living: living.sync()),
        Scenario("push", _ingested, _push),
        Scenario("reindex", _with_other_chunking, lambda living: living.ingest()),
        Scenario("activate", _with_two, lambda living: activate(_older(living), living.index)),
        Scenario("retire", _with_two, _retire),
        Scenario("export", _ingested, _export),
        Scenario("import", _exported, _import),
        Scenario("import in ranges", _exported_for_ranges, _import),
        Scenario("repair", damaged, repaired),
        Scenario("repair without staging", damaged_without_staging, _FROM_ROWS),
    ]


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
            problems += [str(finding) for finding in audited(again).findings]
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


# ------------------------------------------------------------------ the commands
def _staged_for_ranges(living: Living) -> None:
    """Everything is embedded."""
    living.index, living.range_bytes = RangedIndex(), _RANGE_BYTES
    living.shard_bytes = 100
    living.build()


def _ingested(living: Living) -> None:
    living.ingest()


def _with_changes(living: Living) -> None:
    living.ingest()
    living.sync()  # changes nothing, and leaves a cache that is replaced
    living.items = CHANGED


def _push(living: Living) -> None:
    living.push([a_document(0, edition=1), a_document(7)], deleted=["d1"], key="message-1")


def _with_other_chunking(living: Living) -> None:
    living.ingest()
    living.chunking = ChunkingSpec(max_tokens=16)


def _with_two(living: Living) -> None:
    _with_other_chunking(living)
    living.ingest()


def _older(living: Living) -> str:
    [older] = [r.version for r in living.index.records() if r.chunking.max_tokens == 8]
    return older


def _retire(living: Living) -> None:
    spec = RetireSpec(grace_hours=0, keep=0)

    def forget(version: str) -> None:
        ShardFolders(StagingSpec(uri=str(living.folder)), "docs", version).remove()

    retire(
        living.index, "docs", spec, datetime(2099, 1, 1, tzinfo=UTC), forget, RecordingProgress()
    )


def _export(living: Living) -> None:
    exported = open_export(str(living.folder.parent / "export"))
    export_version(live_record(living.index), living.index, exported, RecordingProgress())


def _exported(living: Living) -> None:
    living.ingest()
    _export(living)
    living.index = ExactIndex("docs")


def _exported_for_ranges(living: Living) -> None:
    """As several shards."""
    with mock.patch.object(export_stage, "CHUNKS_PER_SHARD", 3):
        _exported(living)
    living.index, living.range_bytes = RangedIndex(), _RANGE_BYTES


def _import(living: Living) -> VersionRecord:
    exported = open_export(str(living.folder.parent / "export"))
    record = import_version(
        exported, "docs", living.index, RecordingProgress(), range_bytes=living.range_bytes
    )
    return activate(record.version, living.index)


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
