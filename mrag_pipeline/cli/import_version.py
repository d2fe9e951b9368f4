"""`mrag import`: loads an exported version into an index."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Annotated

import typer

from mrag_pipeline.cli.flow_runs import recorded, run_work
from mrag_pipeline.cli.guarded_pools import from_anywhere, guarded_load_pools, guarded_pools
from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.ports import Progress


@shared_options()
def import_version(
    shared: SharedOptions,
    folder: Annotated[str, typer.Argument(help="Folder that `mrag export` wrote.")],
    activate: Annotated[
        bool, typer.Option("--activate", help="Make the imported version live.")
    ] = False,
) -> None:
    """Load an exported version into this index; needs no model. Moves one from Lite to a server.

    Example: mrag import backups/docs --activate -s milvus.uri=http://localhost:19530
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.ingest.publish import activate as activate_stage
    from mrag_pipeline.stages.ingest.verify import VerifiedRecall, verify
    from mrag_pipeline.stages.versions.import_version import MEND, importable, read_export
    from mrag_pipeline.stages.versions.import_version import import_version as import_stage
    from mrag_pipeline.wiring import at_work
    from mrag_pipeline.wiring.phase_work import import_loader, import_verifier

    config, clock = shared.load(), PhaseTimes()
    source = wiring.export(folder)
    with (
        recorded(config, "import", clock.seconds, at_work.run_lock(config)) as run,
        closing(wiring.index(config)) as index,
    ):

        def work(progress: Progress) -> tuple[VersionRecord, VerifiedRecall]:
            place = from_anywhere(folder)
            loads = guarded_load_pools(config, partial(import_loader, place), index)
            range_bytes = config.milvus.range_mb * 1e6
            record = clock.time(
                "load",
                lambda: import_stage(source, config.index, index, progress, loads, range_bytes),
            )
            run.is_of(record)
            _, manifest = read_export(source, config.index)
            manifest = importable(manifest, config.index, index)
            checks = clock.time(
                "verify",
                lambda: verify(
                    manifest,
                    source.staging,
                    index,
                    record.num_chunks,
                    config.ingest,
                    progress,
                    guarded_pools(config, partial(import_verifier, place), index),
                    MEND,
                ),
            )
            if activate:
                record = activate_stage(record.version, index)
            return record, VerifiedRecall.of(checks)

        record, verified = run_work(work, shared.json)
        live = index.live()
    if shared.json:
        facts = {"version": record.version, "chunks": record.num_chunks, "live": live}
        print_json(
            facts
            | {
                "recall": verified.recall,
                "recall_above": verified.recall_above,
                "recall_confidence": verified.confidence,
                "recall_queries": verified.queries,
                "recall_searched": verified.searched,
            }
        )
        return
    state = "live" if live == record.version else f"not live: `mrag activate {record.version}`"
    out.print(
        f"{record.version}: {record.num_chunks:,} chunks, recall {verified}, {state}",
    )
