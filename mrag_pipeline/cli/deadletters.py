"""`mrag deadletters`: the documents that a run could not read, and another try at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.sync import run_sync
from mrag_pipeline.cli.terminal import line, out, print_json
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import StagingError

deadletters = typer.Typer(
    help="Documents that a run could not read: list them, or try them again.",
    no_args_is_help=True,
)
Run = Annotated[
    str | None, typer.Argument(help="Name of a run; the latest with dead letters if not given.")
]


@deadletters.command("list")
@shared_options()
def list_letters(shared: SharedOptions, run: Run = None) -> None:
    """Show the dead letters of a run: document, source, reason.

    Examples:
        mrag deadletters list
        mrag deadletters list v0123456789ab-sync-00001 --json
    """
    runs, run, letters = _letters(shared, run)
    if shared.json:
        rows = [
            {
                "document_id": letter.document_id,
                "source": letter.source,
                "reason": letter.reason,
                "text_hash": letter.text_hash,
                "num_documents": letter.num_documents,
            }
            for letter in letters
        ]
        print_json({"runs": runs, "run": run, "dead_letters": rows})
        return
    if not run:
        out.print("no dead letters")
        return
    for letter in letters:
        out.print(line(("bold", letter.document_id or "(no id)"), " ", letter.source))
        out.print(f"  {letter.reason}")
    out.print(
        f"{len(letters):,} in run {run}; once they are fixed: `mrag deadletters replay`",
    )


@deadletters.command()
@shared_options()
def replay(
    shared: SharedOptions,
    run: Run = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="Path or URI where the documents are now.")
    ] = None,
) -> None:
    """Try only a run's dead letters again, and add those that can be read now.

    Example: mrag deadletters replay
    """
    _, run, letters = _letters(shared, run)
    if not run:
        raise StagingError("no dead letters", "a run that had some", "see `mrag deadletters list`")
    names = {name for letter in letters for name in (letter.document_id, letter.source) if name}
    run_sync(shared.override("corpus", "uri", corpus), only=sorted(names))


def _letters(
    shared: SharedOptions, run: str | None
) -> tuple[Sequence[str], str, Sequence[DeadLetter]]:
    """All runs with dead letters, the chosen one ("" if there are none), and its letters."""
    from mrag_pipeline import wiring

    files = wiring.dead_letters(shared.load())
    runs = files.runs()
    chosen = run or (runs[-1] if runs else "")
    return runs, chosen, files.read(chosen) if chosen else []
