"""The `mrag` command. Each subcommand gathers parts, calls one function and prints the result."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module

import typer

from mrag_pipeline import __version__, environment, library_settings
from mrag_pipeline.cli import interrupts
from mrag_pipeline.cli.command_group import CommandGroup
from mrag_pipeline.cli.terminal import print_error, settle_streams, use_utf8
from mrag_pipeline.errors import MragError, RayBroken
from mrag_pipeline.quick_imports import own_process, quick_imports

EPILOG = """
Exit codes: 0 success; 1 unexpected error; 2 config or arguments; 3 corpus; 4 model; 5 index (no
live version, busy, no answer); 6 verification or fingerprint; 7 disk full; 8 workers lost; 9 worse
than the live version; 130 interrupted; 143 terminated.
"""

app = typer.Typer(
    name="mrag",
    cls=CommandGroup,
    help="Multi-Head RAG: one collection for each attention head; the heads vote on each query.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mrag {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


# In the order of `mrag --help`. Each is the function, or the group, of its name in its module.
COMMANDS = (
    *("init", "plan", "ingest", "sync", "upsert", "delete", "search", "serve", "mcp", "evaluate"),
    *("status", "heads", "inspect", "versions", "activate", "retire", "audit", "repair", "export"),
    *("doctor", "import", "deadletters", "runs", "models", "keys"),
)
_MODULES = {"import": "import_version"}  # a word of Python's own is no module's name


def add_commands(app: typer.Typer, names: Iterable[str] = COMMANDS) -> None:
    """Imports these commands and registers them with the app."""
    for name in names:
        module = _MODULES.get(name, name)
        command = getattr(import_module(f"mrag_pipeline.cli.{module}"), module)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def main() -> None:
    """Runs the command line; an error becomes one message and an exit code."""
    environment.open_closed_streams()
    use_utf8()
    own_process()
    library_settings.settle()
    settle_streams()
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    # One command's imports take a third of all commands'.
    with quick_imports():
        add_commands(app, (first,) if first in COMMANDS else COMMANDS)
    try:
        environment.keep_private()
        app()
    except MragError as error:
        if os.environ.get("MRAG_DEBUG"):
            raise
        print_error(str(error))
        if isinstance(error, RayBroken):
            interrupts.leave(error.exit_code)
        sys.exit(error.exit_code)
    except SystemExit as exit_:
        # Typer turns Ctrl-C into an exit without a message.
        if message := interrupts.message(exit_.code):
            print_error(message)
            if interrupts.are_heeded():
                interrupts.leave(int(exit_.code or 0))
        raise


if __name__ == "__main__":
    main()
