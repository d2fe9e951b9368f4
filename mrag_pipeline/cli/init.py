"""`mrag init`: a commented config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrag_pipeline.cli.terminal import out
from mrag_pipeline.errors import ConfigError


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
