"""`mrag init`, `mrag plan`, `mrag ingest`: from a corpus to a live version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.options import (
    Address,
    AsJson,
    ConfigFile,
    Index,
    Settings,
    Wait,
    settings_of,
)
from mrag_pipeline.cli.terminal import LiveProgress, err, out, print_json, size
from mrag_pipeline.errors import ConfigError

Corpus = Annotated[
    str | None,
    typer.Argument(help="Path or URI: a file, a folder, a glob, s3://..., or pydoc: ."),
]


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("mrag.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented config file, every key with its default.

    Example: mrag init
    """
    from mrag_pipeline.config import template

    if path.exists() and not force:
        raise ConfigError(
            f"{path} is there already", "a new file", "name another path, or use --force"
        )
    path.write_text(template(), "utf-8")
    out.print(f"wrote {path}; next: set corpus.uri in it, then `mrag plan`", highlight=False)


def plan(
    corpus: Corpus = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Show what an ingest would do and need; refuse what cannot work.

    Examples:
        mrag plan articles.jsonl
        mrag plan s3://bucket/corpus/ --index wiki --json
    """
    from mrag_pipeline.config import Config
    from mrag_pipeline.flows.ingest import make_plan

    made = make_plan(Config.load(config, settings_of(settings, index, corpus)))
    manifest, estimate, card = made.manifest, made.estimate, made.manifest.encoder
    about = "" if estimate.exact else "about "
    facts: dict[str, Any] = {
        "corpus": made.corpus,
        "source": size(estimate.num_bytes),
        "documents": f"{about}{estimate.num_documents:,}",
        "chunks": f"{about}{estimate.num_chunks:,}",
        "tokens": f"{about}{estimate.num_tokens:,}",
        "dead letters": f"{estimate.num_dead_letters} in a sample of {estimate.sampled_documents}",
        "shards": f"{len(manifest.shards)}, {made.done_shards} done already",
        "encoder": f"{card.spec.model} ({card.family}), {card.pooling} heads",
        "heads": f"H = {len(card.heads)} of D = {card.head_dim}, standard {card.standard_dim}",
        "collections": made.collections,
        "staging": f"about {size(estimate.staging_bytes)}, {size(made.free_bytes)} free",
        "index size": f"about {size(estimate.index_bytes)}",
        "version": f"{manifest.index} {manifest.version}",
    }
    if json:
        print_json(
            {
                "index": manifest.index,
                "version": manifest.version,
                "fingerprint": manifest.fingerprint,
                "corpus": made.corpus,
                "source_bytes": estimate.num_bytes,
                "documents": estimate.num_documents,
                "chunks": estimate.num_chunks,
                "tokens": estimate.num_tokens,
                "estimates_are_exact": estimate.exact,
                "shards": len(manifest.shards),
                "done_shards": made.done_shards,
                "heads": len(card.heads),
                "head_dim": card.head_dim,
                "standard_dim": card.standard_dim,
                "collections": made.collections,
                "staging_bytes": estimate.staging_bytes,
                "index_bytes": estimate.index_bytes,
                "free_bytes": made.free_bytes,
            }
        )
        return
    _facts(facts)
    out.print("next: `mrag ingest` with the same arguments", highlight=False)


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
    _facts(
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


def _facts(facts: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(f"[bold]{name}", str(value))
    out.print(table, highlight=False)
