"""`mrag init`: writes a commented config file, after a few questions in a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mrag_pipeline.cli import first_settings
from mrag_pipeline.cli.terminal import err, out
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.encoder import PACKAGED_MODEL


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("mrag.toml"),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Take the packaged model, which needs no network."),
    ] = False,
    ask: Annotated[
        bool | None,
        typer.Option(
            "--ask/--defaults",
            help="Ask where documents, model, index and chat model are, offering what is at hand. "
            "Default: ask in a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a config file with every key, its default and a comment.

    Examples:
        mrag init
        mrag init --offline --defaults
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.config import template

    if path.exists() and not force:
        raise ConfigError(
            f"{path} already exists", "a new file", "choose another path, or use --force"
        )
    values: first_settings.Values = {}
    if offline:
        is_packaged_here = wiring.has_model(PACKAGED_MODEL)
        values = first_settings.offline_model(is_packaged_here)
    if ask if ask is not None else sys.stdin.isatty() and sys.stderr.isatty():
        at_hand = first_settings.look_around(
            wiring.has_model, lambda: "" if offline else wiring.hub_problem()
        )

        def tell(text: str) -> None:
            err.print(text, style="dim")

        values |= first_settings.ask(at_hand, _prompt, tell, asks_model=not offline)
    try:
        path.write_text(first_settings.with_values(template(), values), "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            "a file in a folder that exists",
            "create its folder, or name another file",
        ) from error
    first = "" if "corpus.uri" in values else "set corpus.uri in it, then "
    out.print(f"wrote {path}; next: {first}run `mrag plan`")


def _prompt(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default, show_default=bool(default), err=True)
    return answer
