"""`mrag repair`: what an audit finds put right."""

from __future__ import annotations

from contextlib import closing

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import (
    AsJson,
    ConfigFile,
    Index,
    Settings,
    Version,
    settings_of,
)
from mrag_pipeline.cli.terminal import print_json
from mrag_pipeline.config import Config
from mrag_pipeline.stages.versions.lookup import chosen_record


def repair(
    version: Version = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Put right what `mrag audit` finds: from staging, without embedding, where it can be.

    A document that cannot be made whole is taken out; `mrag sync` brings it back.

    Example: mrag repair
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.repair import repair as repair_stage

    resolved = Config.load(config, settings_of(settings, index))
    with wiring.run_lock(resolved), closing(wiring.index(resolved)) as opened:
        record = chosen_record(opened, version)
        staged = wiring.staged_version(resolved, record)
        done = flow_runs.run_plain(lambda told: repair_stage(record, staged, opened, told), json)
    facts = {
        "version": record.version,
        "restored_rows": done.restored,
        "removed_rows": done.removed,
        "removed_documents": done.documents_removed,
        "recounted": done.recounted,
    }
    if json:
        print_json(facts)
    else:
        flow_runs.facts(facts)
