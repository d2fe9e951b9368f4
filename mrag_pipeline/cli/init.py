"""`mrag init`: writes a commented config file, after a few questions, or the tutorial's files."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from mrag_pipeline.cli import first_settings
from mrag_pipeline.cli.terminal import err, out
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.encoder import PACKAGED_MODEL

EXAMPLE = "handbook"  # the folder of examples/ that --example writes


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("mrag.toml"),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
    example: Annotated[
        bool,
        typer.Option(
            "--example",
            help="Write the tutorial's files into this folder instead: 47 documents of a town's "
            "handbook, questions with their answers, and a short mrag.toml.",
        ),
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
        mrag init --example
    """
    from mrag_pipeline.config import template
    from mrag_pipeline.wiring import models

    if example:
        _write_example(path, force)
        return
    _check_new(path, force)
    values: first_settings.Values = {}
    if offline:
        is_packaged_here = models.has_model(PACKAGED_MODEL)
        values = first_settings.offline_model(is_packaged_here)
    if ask if ask is not None else sys.stdin.isatty() and sys.stderr.isatty():
        at_hand = first_settings.look_around(
            models.has_model, lambda: "" if offline else models.hub_problem()
        )

        def tell(text: str) -> None:
            err.print(text, style="dim")

        values |= first_settings.ask(at_hand, _prompt, tell, asks_model=not offline)
    _write(path, first_settings.with_values(template(), values))
    first = "" if "corpus.uri" in values else "set corpus.uri in it, then "
    out.print(f"wrote {path}; next: {first}run `mrag plan`")


def _write_example(path: Path, force: bool) -> None:
    """All files of the tutorial, or none if one exists.

    Raises: ConfigError.
    """
    if path != Path("mrag.toml"):
        raise ConfigError(f"--example and {path}", "one of them: the example has names of its own")
    folder = resources.files("mrag_pipeline").joinpath("examples", EXAMPLE)
    files = {Path(file.name): file.read_text("utf-8") for file in folder.iterdir()}
    for file in files:
        _check_new(file, force)
    for file, text in files.items():
        _write(file, text)
    out.print(f"wrote {', '.join(map(str, sorted(files)))}; next: run `mrag ingest`")


def _check_new(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(
            f"{path} already exists", "a new file", "choose another path, or use --force"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            "a file in a folder that exists",
            "create its folder, or name another file",
        ) from error


def _prompt(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default, show_default=bool(default), err=True)
    return answer
