"""The `mrag` command: thin. Each command gathers parts, calls one function, prints."""

from __future__ import annotations

import os
import sys

import typer

from mrag_pipeline import __version__
from mrag_pipeline.cli import library_settings
from mrag_pipeline.errors import MragError

EPILOG = """
Exit codes: 0 done; 1 unexpected; 2 config or arguments; 3 corpus; 4 model; 5 index (none live,
busy, no answer); 6 verification or fingerprint; 7 disk full; 8 workers lost; 9 worse
than the live version; 130 interrupted.
"""
INTERRUPTED = 130

app = typer.Typer(
    name="mrag",
    help="Multi-Head RAG: a corpus becomes one collection per attention head; the heads vote.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mrag {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),
) -> None:
    pass


def _add_commands() -> None:
    from mrag_pipeline.cli import (
        activate,
        audit,
        deadletters,
        doctor,
        evaluate,
        export,
        import_version,
        ingest,
        init,
        inspect,
        keys,
        models,
        plan,
        repair,
        retire,
        search,
        serve,
        status,
        sync,
        versions,
    )

    for command in (
        init.init,
        plan.plan,
        ingest.ingest,
        sync.sync,
        search.search,
        serve.serve,
        evaluate.evaluate,
        status.status,
        inspect.inspect,
        versions.versions,
        activate.activate,
        retire.retire,
        audit.audit,
        repair.repair,
        export.export,
        doctor.doctor,
    ):
        app.command()(command)
    app.command("import")(import_version.import_version)
    app.add_typer(deadletters.deadletters, name="deadletters")
    app.add_typer(models.models, name="models")
    app.add_typer(keys.keys, name="keys")


def main() -> None:
    """Runs the command line; errors become one message and an exit code."""
    library_settings.settle()
    _add_commands()
    try:
        app()
    except MragError as error:
        if os.environ.get("MRAG_DEBUG"):
            raise
        sys.stderr.write(f"mrag: {error}\n")
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # Typer makes a Ctrl-C an exit of its own, without a word.
        if ended.code == INTERRUPTED:
            sys.stderr.write("mrag: interrupted; run the same command again to go on\n")
        raise


if __name__ == "__main__":
    main()
