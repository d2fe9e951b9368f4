"""`mrag sync`: the live version follows its corpus."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import (
    Address,
    AsJson,
    ConfigFile,
    Corpus,
    Index,
    Settings,
    Wait,
    settings_of,
)
from mrag_pipeline.cli.terminal import print_json


def sync(
    corpus: Corpus = None,
    allow_deletes: Annotated[
        bool, typer.Option("--allow-deletes", help="Delete past sync.max_deleted_share too.")
    ] = False,
    address: Address = None,
    wait: Wait = 0.0,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Bring the live version up to date: embed what is new or changed, remove what is gone.

    Without a corpus, the one that the live version was built from. Run it again to go on.

    Examples:
        mrag sync
        mrag sync articles.jsonl --allow-deletes
    """
    values = settings_of(settings, index, corpus, address)
    run_sync(values, config, allow_deletes, None, json, wait)


def run_sync(
    settings: dict[str, Any],
    config: ConfigFile,
    allow_deletes: bool,
    only: list[str] | None,
    json: bool,
    wait: float = 0.0,
) -> None:
    """Runs the sync flow and prints what it did."""
    from mrag_pipeline.config import Config

    Config.load(config, settings)  # a wrong config is told before a server is started
    flow_runs.announce("Prefect")
    from mrag_pipeline.flows.sync import sync as flow

    file = str(config.absolute()) if config else None
    result = flow_runs.run(lambda: flow(file, settings, allow_deletes, only, wait), json)
    if json:
        print_json(result)
        return
    flow_runs.facts(
        {
            "version": f"{result['index']} {result['version']}",
            "documents": f"{result['added']:,} added, {result['changed']:,} changed, "
            f"{result['removed']:,} removed, {result['unchanged']:,} unchanged",
            "chunks": f"{result['embedded_chunks']:,} embedded, {result['removed_chunks']:,} gone; "
            f"{result['chunks']:,} in the version now",
            "dead letters": f"{result['dead_letters']:,} {result['dead_letters_file']}",
            "seconds": ", ".join(f"{name} {s}" for name, s in result["seconds"].items()),
        }
    )
