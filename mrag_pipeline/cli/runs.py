"""`mrag runs`: what was run on the index, how long it took, and what it held."""

from __future__ import annotations

import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import psutil
import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json, seconds_by_phase
from mrag_pipeline.domain.run_facts import KINDS
from mrag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from mrag_pipeline.domain.run_facts import RunFacts

_CLOCK_S = 10.0  # by which a machine's clock may have been set while a run went on
_COLORS = {"completed": "green", "failed": "red", "killed": "red", "interrupted": "yellow"}


@shared_options()
def runs(
    shared: SharedOptions,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Show this many runs, the latest ones.")
    ] = 20,
    kind: Annotated[
        str, typer.Option("--kind", help=f"Show these runs alone: {', '.join(KINDS)}.")
    ] = "",
) -> None:
    """List the runs that changed or checked the index: version, phases, hours of CPU and GPU.

    A push is an upsert or a delete. Hours of Ray's workers are those of the cores and GPUs they
    held, whether they worked or waited.

    Example: mrag runs --kind ingest
    """
    from mrag_pipeline import wiring

    if kind and kind not in KINDS:
        raise ConfigError(
            f"no run is of the kind {kind!r}", f"one of {', '.join(KINDS)}", "run `mrag runs`"
        )
    config = shared.load()
    latest = wiring.run_files(config).latest(limit, kind)
    if shared.json:
        rows = [
            asdict(run)
            | {
                "state": _state(run),
                "duration_s": run.duration_s,
                "known_s": run.known_s,
                "cpu_hours": round(run.cpu_hours, 4),
                "gpu_hours": None if run.gpu_hours is None else round(run.gpu_hours, 4),
            }
            for run in latest
        ]
        print_json({"index": config.index, "runs": rows})
        return
    for run in latest:
        _show(run)
    if not latest:
        out.print(f"no {kind} yet" if kind else "no run yet: `mrag ingest` is one")


def _show(run: RunFacts) -> None:
    state, known_s = _state(run), run.known_s
    # Of a run without an end there is what it kept last, between two phases.
    at_least = "" if run.ended_at else "at least "
    facts = [
        run.version,
        f"{run.documents:,} documents, {run.chunks:,} chunks" if run.chunks else "",
        "" if known_s is None else f"{at_least}{known_s:,.0f} s",
        "" if known_s is None else f"{at_least}{_hours(run.cpu_hours)} of CPU",
        "" if run.gpu_hours is None else f"{at_least}{_hours(run.gpu_hours)} of GPU",
        f"{run.retries} retries" if run.retries else "",
    ]
    out.print(
        line(
            ("bold", run.started_at[:19].replace("T", " ")),
            f"  {run.kind} ",
            (_COLORS.get(state, ""), state),
            *(f"  {fact}" for fact in facts if fact),
        ),
        soft_wrap=True,
    )
    if run.seconds:
        out.print(line(f"  seconds: {seconds_by_phase(run.seconds)}"), soft_wrap=True)
    if run.message:
        out.print(line(f"  {run.message}"), soft_wrap=True)


def _state(run: RunFacts) -> str:
    """As the run wrote it; `killed` if it did not write its end and its process has ended."""
    if run.state != "running" or run.host != socket.gethostname():
        return run.state
    try:
        began_s = psutil.Process(run.pid).create_time()
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return "killed"
    # In a container, every start of it has the same host and process number.
    return "killed" if began_s > run.started_s + _CLOCK_S else "running"


def _hours(hours: float) -> str:
    return f"{hours:,.2f} h" if hours >= 0.1 else f"{3600 * hours:.0f} s"
