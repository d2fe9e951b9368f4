"""What the pipelines of this folder share: the two commands, the corpus, the model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

Search = Callable[[str, int], list[str]]


def model() -> str:
    """The folder of the model to embed with; it changes while a pipeline is compared."""
    return os.environ["COMPARE_MODEL"]


def milvus(file: str) -> str:
    """Where Milvus is: the server that the readers share, or else this file."""
    return os.environ.get("COMPARE_MILVUS", file)


def documents(folder: str) -> dict[str, str]:
    """The text of each file, by its name."""
    return {path.name: path.read_text("utf-8") for path in sorted(Path(folder).iterdir())}


def main(ingest: Callable[[str], None], reader: Callable[[], Search]) -> None:
    """Runs `ingest FOLDER`, or `search K`: a line of names for each line of standard input."""
    command, argument = sys.argv[1:]
    if command == "ingest":
        ingest(argument)
        return
    search = reader()
    for line in sys.stdin:
        try:
            print(json.dumps(search(line.strip(), int(argument))), flush=True)
        except Exception as error:  # whatever a library raises: the reader goes on
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            print("null", flush=True)
