"""`mrag deadletters`: the documents that could not be taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from mrag_pipeline.cli.options import AsJson, ConfigFile, Index, Settings, settings_of
from mrag_pipeline.cli.sync import run_sync
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import StagingError

deadletters = typer.Typer(
    help="The documents that could not be taken: list them, or try them again.",
    no_args_is_help=True,
)


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
    run_sync(settings_of(settings, index, corpus), config, False, only, json)


def _letters(
    config: ConfigFile, index: str | None, settings: list[str] | None, run: str | None
) -> tuple[Sequence[str], str, Sequence[DeadLetter]]:
    from mrag_pipeline import wiring
    from mrag_pipeline.config import Config

    files = wiring.dead_letters(Config.load(config, settings_of(settings, index)))
    runs = files.runs()
    chosen = run or (runs[-1] if runs else "")
    return runs, chosen, files.read(chosen) if chosen else []
