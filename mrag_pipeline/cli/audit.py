"""`mrag audit`: every row of a version checked."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import typer

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import (
    AsJson,
    ConfigFile,
    Index,
    Settings,
    Version,
    settings_of,
)
from mrag_pipeline.cli.terminal import err, out, print_json
from mrag_pipeline.config import Config
from mrag_pipeline.stages.versions.lookup import chosen_record


def audit(
    version: Version = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Check every row: each chunk in every head, vectors, counts, importance, staged files.

    Exit code 6 if anything is found.

    Example: mrag audit
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.audit import audit as audit_stage

    resolved = Config.load(config, settings_of(settings, index))
    with closing(wiring.index(resolved)) as opened:
        record = chosen_record(opened, version)
        staged = wiring.staged_version(resolved, record)
        found = flow_runs.run_plain(lambda told: audit_stage(record, staged, opened, told), json)
    if json:
        print_json(asdict(found))
    else:
        shards = f", {found.staged_shards} staged shards" if staged else "; no staging here"
        out.print(
            f"{found.version}: {found.chunks:,} chunks in {found.collections} collections{shards}",
            highlight=False,
        )
        for finding in found.findings:
            out.print(f"[red]{finding}", highlight=False, soft_wrap=True)
        if not found.findings:
            out.print("[green]nothing found", highlight=False)
    if found.findings:
        if not json:
            err.print("to mend: `mrag repair`", highlight=False)
        raise typer.Exit(6)
