"""`mrag ingest`: from a corpus to a live version."""

from __future__ import annotations

from typing import Annotated

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
from mrag_pipeline.cli.terminal import LiveProgress, err, out, print_json


def ingest(
    corpus: Corpus = None,
    no_gate: Annotated[
        bool, typer.Option("--no-gate", help="Go live without comparing with the live version.")
    ] = False,
    address: Address = None,
    wait: Wait = 0.0,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Build an index version from a corpus and make it live. Run it again to go on.

    Examples:
        mrag ingest pydoc: --index python
        mrag ingest articles.jsonl -s corpus.id_field=url -s workers.count=4
        mrag ingest s3://bucket/corpus/ --address ray://head:10001
    """
    from mrag_pipeline.config import Config

    settings_here = settings_of(settings, index, corpus, address)
    # A wrong config is told at once, before a server is started for the flow.
    resolved = Config.load(config, settings_here)
    flow_runs.announce("Prefect" if resolved.workers.address else "Prefect and Ray")
    from mrag_pipeline.flows.ingest import ingest as flow
    from mrag_pipeline.flows.progress import LogProgress, show_with

    file = str(config.absolute()) if config else None
    if err.is_terminal and not json:
        with LiveProgress() as progress:
            show_with(progress)
            result = flow(file, settings_here, not no_gate, wait)
    else:
        show_with(LogProgress(lambda line: err.print(line, highlight=False, soft_wrap=True)))
        result = flow(file, settings_here, not no_gate, wait)
    if json:
        print_json(result)
        return
    embedded = result["shards"] - result["reused_shards"]
    flow_runs.facts(
        {
            "version": f"{result['index']} {result['version']} is live",
            "documents": f"{result['documents']:,}",
            "chunks": f"{result['chunks']:,} in each of {result['collections']} collections",
            "dead letters": f"{result['dead_letters']:,}",
            "shards": f"{embedded} embedded, {result['reused_shards']} reused",
            "collections": f"{result['built_collections']} built, "
            f"{result['collections'] - result['built_collections']} found complete",
            "seconds": ", ".join(f"{name} {s}" for name, s in result["seconds"].items()),
        }
    )
    out.print('next: `mrag search "..."`', highlight=False)
