"""`mrag upsert`: adds documents to the live version, or replaces them, by their ids."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import SharedOptions, Wait, shared_options
from mrag_pipeline.cli.terminal import print_facts, print_json, print_remarks, seconds_by_phase

STDIN = "-"
Key = Annotated[
    str,
    typer.Option(
        "--key",
        metavar="KEY",
        help="Your name for these changes, such as a message id: they are applied once under it.",
    ),
]


@shared_options()
def upsert(
    shared: SharedOptions,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Path or URI of the documents; - reads standard input."
        ),
    ],
    document_format: Annotated[
        str,
        typer.Option("--format", help="Of the documents; by the file name, or JSON Lines for -."),
    ] = "",
    key: Key = "",
    wait: Wait = 0.0,
) -> None:
    """Add documents to the live version, or replace those that have the same ids.

    Reads neither the corpus nor other documents of the index. Fields are read as the corpus's.

    Examples:
        mrag upsert changed.jsonl
        echo '{"id": "a7", "text": "A giant star."}' | mrag upsert - --key message-1042
    """
    with tempfile.TemporaryDirectory() as folder:
        if source == STDIN:
            document_format = document_format or "jsonl"
            spooled = Path(folder) / "stdin"
            with spooled.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            source = str(spooled)
        run_push(
            shared,
            key,
            wait,
            documents=source,
            document_format=document_format or "auto",
        )


def run_push(shared: SharedOptions, key: str, wait_s: float, **changes: Any) -> None:
    """Runs the push flow and prints what it did.

    Args:
        changes: the flow's `documents` and `document_format`, or `deleted`.
    """
    config = shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline import wiring
        from mrag_pipeline.flows.push import push

        if changes.get("documents"):
            wiring.import_libraries(config)
        return partial(push, *shared.for_flow(), **changes, key=key, wait_s=wait_s)

    result = run_flow(prepare, shared.json)
    if shared.json:
        print_json(result)
        return
    documents = (
        f"{result['added']:,} added, {result['changed']:,} changed, {result['removed']:,} deleted, "
        f"{result['unchanged']:,} unchanged"
    )
    if result["unknown"]:
        documents += f"; {result['unknown']:,} ids to delete were not there"
    if result["repeated"]:
        documents = "none: these changes were applied before, under the same key"
    print_facts(
        {
            "version": f"{result['index']} {result['version']}",
            "documents": documents,
            "chunks": f"{result['embedded_chunks']:,} embedded, "
            f"{result['removed_chunks']:,} removed; {result['chunks']:,} in the version now",
            "dead letters": f"{result['dead_letters']:,} {result['dead_letters_file']}",
            "seconds": seconds_by_phase(result["seconds"]),
        }
    )
    print_remarks(result["remarks"], result["reading"])
