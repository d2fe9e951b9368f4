"""`mrag audit`: checks every row of a version."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import typer

from mrag_pipeline.cli.flow_runs import run_work
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import err, out, print_json
from mrag_pipeline.errors import VerifyFailed


@shared_options()
def audit(shared: SharedOptions, version: Version = None) -> None:
    """Check every row: each chunk in every head, vectors, counts, importance, staged files.

    Exit code 6 if anything is wrong.

    Example: mrag audit
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.audit import audit as audit_stage
    from mrag_pipeline.stages.versions.lookup import chosen_record

    config = shared.load()
    with closing(wiring.index(config)) as index:
        record = chosen_record(index, version)
        staged = wiring.staged_version(config, record)
        report = run_work(
            lambda progress: audit_stage(record, staged, index, progress), shared.json
        )
    if shared.json:
        print_json(asdict(report))
    else:
        shards = f", {report.staged_shards} staged shards" if staged else "; no staging here"
        out.print(
            f"{report.version}: {report.chunks:,} chunks in {report.collections} collections"
            f"{shards}",
        )
        for finding in report.findings:
            out.print(str(finding), style="red", soft_wrap=True)
        if not report.findings:
            out.print("nothing is wrong", style="green")
    if report.findings:
        if not shared.json:
            err.print("to fix: `mrag repair`")
        raise typer.Exit(VerifyFailed.exit_code)
