"""`mrag runs`: what was run on the index, how long it took, and what it held."""

from __future__ import annotations

import socket
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import psutil
import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json, seconds_by_phase

if TYPE_CHECKING:
    from mrag_pipeline.domain.run_facts import RunFacts

_COLORS = {"completed": "green", "failed": "red", "killed": "red", "interrupted": "yellow"}


@shared_options()
def runs(
    shared: SharedOptions,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many, the latest.")] = 20,
) -> None:
    """List the runs of ingest and sync: version, phases, hours of CPU and GPU.

    Workers' hours are those that they held, whether they worked or waited.

    Example: mrag runs --json
    """
    from mrag_pipeline import wiring

    config = shared.load()
    found = wiring.run_files(config).latest(limit)
    if shared.json:
        rows = [
            asdict(run)
            | {
                "state": _state(run),
                "duration_s": _duration_s(run),
                "cpu_hours": round(run.cpu_hours, 4),
                "gpu_hours": round(run.gpu_hours, 4),
            }
            for run in found
        ]
        print_json({"index": config.index, "runs": rows})
        return
    for run in found:
        _show(run)
    if not found:
        out.print("no run yet: `mrag ingest` is one")


def _show(run: RunFacts) -> None:
    state, duration_s = _state(run), _duration_s(run)
    facts = [
        run.version,
        f"{run.documents:,} documents, {run.chunks:,} chunks" if run.chunks else "",
        "" if duration_s is None else f"{duration_s:,.0f} s",
        f"{_hours(run.cpu_hours)} of CPU, {_hours(run.gpu_hours)} of GPU" if run.ended_at else "",
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
    """One that has not written its end goes on, or was killed."""
    if run.state == "running" and run.host == socket.gethostname():
        return "running" if psutil.pid_exists(run.pid) else "killed"
    return run.state


def _hours(hours: float) -> str:
    return f"{hours:,.2f} h" if hours >= 0.1 else f"{3600 * hours:.0f} s"


def _duration_s(run: RunFacts) -> float | None:
    if not run.ended_at:
        return None
    took = datetime.fromisoformat(run.ended_at) - datetime.fromisoformat(run.started_at)
    return took.total_seconds()
