"""`mrag init`: writes a commented config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrag_pipeline.cli.terminal import out
from mrag_pipeline.errors import ConfigError


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("mrag.toml"),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
) -> None:
    """Write a config file with every key, its default and a comment.

    Example: mrag init
    """
    from mrag_pipeline.config import template

    if path.exists() and not force:
        raise ConfigError(
            f"{path} already exists", "a new file", "choose another path, or use --force"
        )
    try:
        path.write_text(template(), "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            "a file in a folder that exists",
            "create its folder, or name another file",
        ) from error
    out.print(f"wrote {path}; next: set corpus.uri in it, then run `mrag plan`")
