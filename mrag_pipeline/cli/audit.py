"""`mrag audit`: checks every row of a version, or a sample of its chunks."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mrag_pipeline.cli.flow_runs import recorded, run_work
from mrag_pipeline.cli.guarded_pools import guarded_pools
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import err, out, print_json
from mrag_pipeline.domain.confidence import sure_of
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.flows.phase_times import PhaseTimes

if TYPE_CHECKING:
    from mrag_pipeline.domain.version import VersionRecord
    from mrag_pipeline.stages.versions.audit import Audit


@shared_options()
def audit(
    shared: SharedOptions,
    version: Version = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            help="Check so many chunks drawn at random, and say what that proves of all.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="With --sample: draw the same chunks again.")
    ] = None,
) -> None:
    """Check every row: texts, metadata, vectors, counts, importance, staged files.

    Exit code 6 if anything is wrong.

    Example: mrag audit --sample 3000
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.versions.audit import audit as audit_stage
    from mrag_pipeline.stages.versions.audit import audit_sample
    from mrag_pipeline.stages.versions.lookup import chosen_record
    from mrag_pipeline.wiring.phase_work import row_checker

    config, clock = shared.load(), PhaseTimes()
    with (
        recorded(config, "audit", clock.seconds) as run,
        closing(wiring.index(config)) as index,
    ):
        record = chosen_record(index, version)
        run.is_of(record)
        if sample is None:
            staged = wiring.staged_version(config, record)
            pools = guarded_pools(config, partial(row_checker, record), index)
            work = partial(audit_stage, record, staged, index, open_pool=pools)
            report = clock.time("audit", lambda: run_work(work, shared.json))
            source = f", {report.staged_shards} staged shards" if staged else "; no staging here"
        else:
            number = random.randrange(2**31) if seed is None else seed
            drawn = partial(audit_sample, record, index, sample, number)
            report = clock.time("audit", lambda: run_work(drawn, shared.json))
            source = f"; {report.checked:,} chunks drawn at random (--seed {number})"
        _show(report, record, source, shared.json)
        if report.findings:
            run.problem = "; ".join(map(str, report.findings))
            raise typer.Exit(VerifyFailed.exit_code)


def _show(report: Audit, record: VersionRecord, source: str, json: bool) -> None:
    """Prints the report.

    Args:
        source: what was read, for people.
    """
    verified = {
        "recall": record.verified_recall(),
        "recall_above": record.recall_above(),
        "recall_confidence": record.recall_confidence(),
        "recall_searched": record.recall_searched(),
    }
    if json:
        print_json(asdict(report) | verified)
        return
    out.print(
        f"{report.version}: {report.chunks:,} chunks in {report.collections} collections{source}",
    )
    for finding in report.findings:
        out.print(str(finding), style="red", soft_wrap=True)
    for line in _recall(report, record):
        out.print(line, soft_wrap=True)
    for line in _proven(report):
        out.print(line, style="green" if not report.findings else "", soft_wrap=True)
    if report.findings:
        err.print("to fix: `mrag repair`")


def _recall(report: Audit, record: VersionRecord) -> list[str]:
    """What searches found when the version was built, and now."""
    lines = []
    recall, above = record.verified_recall(), record.recall_above()
    confidence = record.recall_confidence()
    if recall is not None and above and confidence:
        sure = sure_of(above, confidence, record.recall_searched() or 1.0)
        lines.append(f"recall when it was built: {recall:.4f} on a sample, {sure}")
    if report.recall_now is not None:
        why = report.recall_not_comparable
        compared = f"; it cannot be compared with that of the build: {why}" if why else ""
        lines.append(f"recall now: {report.recall_now:.4f} on a sample{compared}")
    return lines


def _proven(report: Audit) -> list[str]:
    """What the audit shows of the rows in which nothing was found."""
    lines = []
    if report.unproven:
        lines.append(
            f"{report.unproven:,} of {report.checked:,} chunks have no proof, as mrag 0.1 wrote "
            "none: their title, metadata and single vectors may have changed. A version that is "
            "built anew has proofs"
        )
    if not report.findings:
        share = report.damaged_share_below
        bound = f"; at 95% confidence under {share:.2%} of all chunks are damaged" if share else ""
        lines.append(f"nothing is wrong{bound}")
    return lines
