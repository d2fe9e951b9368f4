"""`mrag sync`, `mrag deadletters`: the live version follows its corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mrag_pipeline.cli import flow_runs
from mrag_pipeline.cli.ingest import Corpus
from mrag_pipeline.cli.options import (
    Address,
    AsJson,
    ConfigFile,
    Index,
    Settings,
    Wait,
    settings_of,
)
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import StagingError

deadletters = typer.Typer(
    help="The documents that could not be taken: list them, or try them again.",
    no_args_is_help=True,
)


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
    _sync(values, config, allow_deletes, None, json, wait)


@deadletters.command("list")
def list_letters(
    run: Annotated[str | None, typer.Argument(help="One run; the latest if not given.")] = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Show dead letters: document, place, reason.

    Examples:
        mrag deadletters list
        mrag deadletters list v0123456789ab-sync-00001 --json
    """
    files, chosen, letters = _letters(config, index, settings, run)
    if json:
        rows = [
            {
                "document_id": one.document_id,
                "source": one.source,
                "reason": one.reason,
                "text_hash": one.text_hash,
            }
            for one in letters
        ]
        print_json({"runs": files, "run": chosen, "dead_letters": rows})
        return
    if not chosen:
        out.print("no dead letters", highlight=False)
        return
    for one in letters:
        out.print(f"[bold]{one.document_id or '(no id)'}[/] {one.source}", highlight=False)
        out.print(f"  {one.reason}", highlight=False, markup=False)
    out.print(
        f"{len(letters):,} of run {chosen}; mended: `mrag deadletters replay`", highlight=False
    )


@deadletters.command()
def replay(
    run: Annotated[str | None, typer.Argument(help="One run; the latest if not given.")] = None,
    corpus: Annotated[str | None, typer.Option("--corpus", help="Where they are now.")] = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Try a run's dead letters again, and nothing else: those that can be read now are added.

    Example: mrag deadletters replay
    """
    _, chosen, letters = _letters(config, index, settings, run)
    if not chosen:
        raise StagingError("no dead letters", "a run that had some")
    only = sorted({name for one in letters for name in (one.document_id, one.source) if name})
    _sync(settings_of(settings, index, corpus), config, False, only, json)


def _letters(
    config: ConfigFile, index: str | None, settings: list[str] | None, run: str | None
) -> tuple[Sequence[str], str, Sequence[DeadLetter]]:
    from mrag_pipeline import wiring
    from mrag_pipeline.config import Config

    files = wiring.dead_letters(Config.load(config, settings_of(settings, index)))
    runs = files.runs()
    chosen = run or (runs[-1] if runs else "")
    return runs, chosen, files.read(chosen) if chosen else []


def _sync(
    settings: dict[str, Any],
    config: ConfigFile,
    allow_deletes: bool,
    only: list[str] | None,
    json: bool,
    wait: float = 0.0,
) -> None:
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
