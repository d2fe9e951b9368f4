"""`mrag repair`: fixes what an audit finds."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import typer

from mrag_pipeline.cli.flow_runs import recorded, run_work
from mrag_pipeline.cli.guarded_pools import guarded_pools
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import err, print_facts, print_json
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.flows.phase_times import PhaseTimes

if TYPE_CHECKING:
    from mrag_pipeline.stages.versions.lost_record import FoundVersion
    from mrag_pipeline.stages.versions.repair import Repaired


@shared_options()
def repair(shared: SharedOptions, version: Version = None) -> None:
    """Fix what `mrag audit` finds, from staging where possible; nothing is embedded.

    A document that cannot be made whole is removed; `mrag sync` adds it again.

    Example: mrag repair
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.repair import repair as repair_stage
    from mrag_pipeline.wiring import at_work
    from mrag_pipeline.wiring.phase_work import row_checker

    config, clock = shared.load(), PhaseTimes()
    with (
        recorded(config, "repair", clock.seconds, at_work.run_lock(config)) as run,
        closing(wiring.index(config)) as index,
    ):
        found = wiring.found_version(config, index, version)
        record = found.record
        run.is_of(record)
        if found.is_record_new:
            index.discard_damaged_records()
            index.write_record(record)
        staged = wiring.staged_version(config, record)
        pools = guarded_pools(config, partial(row_checker, record), index)
        work = partial(repair_stage, record, staged, index, open_pool=pools)
        done = clock.time("repair", lambda: run_work(work, shared.json))
        run.is_of(done.record)
        if found.was_live:
            index.activate(record.version)
        _show(done, found, shared.json)
        if done.misled:
            run.problem = _still_damaged(done, has_staging=staged is not None)
            if not shared.json:
                err.print(run.problem, soft_wrap=True)
            raise typer.Exit(VerifyFailed.exit_code)


def _show(done: Repaired, found: FoundVersion, json: bool) -> None:
    if json:
        facts = {
            "version": done.record.version,
            "restored_rows": done.restored,
            "removed_rows": done.removed,
            "removed_documents": done.documents_removed,
            "recounted": done.recounted,
            "record_made_anew": found.is_record_new,
            "made_live_again": found.was_live,
            "searches_still_damaged": done.misled,
        }
        print_json(facts)
        return
    removed = f"{done.documents_removed:,} removed: they could not be made whole"
    counted = "counted anew: its counts or sums were wrong" if done.recounted else "as it was"
    print_facts(
        {
            "version": done.record.version,
            "rows": f"{done.restored:,} restored, {done.removed:,} removed",
            "documents": removed if done.documents_removed else "none removed",
            "record": "made anew from staging" if found.is_record_new else counted,
            **({"live": "made live again"} if found.was_live else {}),
        }
    )


def _still_damaged(done: Repaired, has_staging: bool) -> str:
    names = ", ".join(done.misled)
    if has_staging:
        return (
            f"{names}: built anew, and searches still find less than when the version was built; "
            "give them more effort (milvus.search_params)"
        )
    return (
        f"{names}: searches do not find all that is stored, and staging is not here to build from; "
        "restore the staging folder and run `mrag repair` again"
    )
