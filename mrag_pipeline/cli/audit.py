"""`mrag audit`: checks every row of a version, or a sample of its chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import err, out, print_json
from mrag_pipeline.domain.confidence import sure_of
from mrag_pipeline.errors import DamageFound


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
    shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline.flows.audit import audit as audit_flow

        return partial(audit_flow, *shared.for_flow(), version, sample, seed)

    try:
        _show(run_flow(prepare, shared.json), shared.json)
    except DamageFound as found:
        _show(found.result, shared.json)
        raise typer.Exit(found.exit_code) from None


def _show(result: Mapping[str, Any], json: bool) -> None:
    """Prints what was found, and what was looked at."""
    if json:
        print_json(result)
        return
    from mrag_pipeline.stages.versions.findings import Finding

    if result["seed"] is not None:
        source = f"; {result['checked']:,} chunks drawn at random (--seed {result['seed']})"
    elif result["has_staging"]:
        source = f", {result['staged_shards']} staged shards"
    else:
        source = "; no staging here"
    chunks, collections = result["chunks"], result["collections"]
    out.print(f"{result['version']}: {chunks:,} chunks in {collections} collections{source}")
    for finding in result["findings"]:
        out.print(str(Finding(**finding)), style="red", soft_wrap=True)
    for line in _recall(result):
        out.print(line, soft_wrap=True)
    for line in _proven(result):
        out.print(line, style="green" if not result["findings"] else "", soft_wrap=True)
    if result["findings"]:
        err.print("to fix: `mrag repair`")


def _recall(result: Mapping[str, Any]) -> list[str]:
    """What searches found when the version was built, and now."""
    lines = []
    recall, above = result["recall"], result["recall_above"]
    confidence, now = result["recall_confidence"], result["recall_now"]
    if recall is not None and above and confidence:
        sure = sure_of(above, confidence, result["recall_searched"] or 1.0)
        lines.append(f"recall when it was built: {recall:.4f} on a sample, {sure}")
    if now is not None:
        why = result["recall_not_comparable"]
        compared = f"; it cannot be compared with that of the build: {why}" if why else ""
        lines.append(f"recall now: {now:.4f} on a sample{compared}")
    return lines


def _proven(result: Mapping[str, Any]) -> list[str]:
    """What the audit shows of the rows in which nothing was found."""
    lines = []
    if result["unproven"]:
        lines.append(
            f"{result['unproven']:,} of {result['checked']:,} chunks have no proof, as mrag 0.1 "
            "wrote none: their title, metadata and single vectors may have changed. A version that "
            "is built anew has proofs"
        )
    if not result["findings"]:
        share = result["damaged_share_below"]
        bound = f"; at 95% confidence under {share:.2%} of all chunks are damaged" if share else ""
        lines.append(f"nothing is wrong{bound}")
    return lines
