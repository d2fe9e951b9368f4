"""`mrag sync`: brings the live version up to date with its corpus."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import Address, Corpus, SharedOptions, Wait, shared_options
from mrag_pipeline.cli.terminal import print_facts, print_json, print_remarks, seconds_by_phase


@shared_options()
def sync(
    shared: SharedOptions,
    corpus: Corpus = None,
    allow_deletes: Annotated[
        bool,
        typer.Option(
            "--allow-deletes", help="Delete documents even beyond sync.max_deleted_share."
        ),
    ] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Read also unchanged files, and rows that corpus.updated_field calls unchanged.",
        ),
    ] = False,
    address: Address = None,
    wait: Wait = 0.0,
) -> None:
    """Bring the live version up to date: embed new and changed documents, remove deleted ones.

    Without a corpus, reads the one that the live version was built from. Run it again to resume.

    Examples:
        mrag sync
        mrag sync articles.jsonl --allow-deletes
    """
    shared = shared.override("corpus", "uri", corpus).override("workers", "address", address)
    run_sync(shared, allow_deletes, wait_s=wait, full=full)


def run_sync(
    shared: SharedOptions,
    allow_deletes: bool = False,
    only: list[str] | None = None,
    wait_s: float = 0.0,
    full: bool = False,
) -> None:
    """Runs the sync flow and prints what it did.

    Args:
        only: document ids or sources; no other document is embedded, and none removed. None: all.
        full: read also files, and rows of a database, that cannot have changed.
    """
    config = shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline import wiring
        from mrag_pipeline.flows.sync import sync as sync_flow

        wiring.import_libraries(config)
        return partial(sync_flow, *shared.for_flow(), allow_deletes, only, wait_s, full)

    result = run_flow(prepare, shared.json)
    if shared.json:
        print_json(result)
        return
    files = f"{result['unread_files']:,} of {result['files']:,} unchanged, not read"
    print_facts(
        {
            "version": f"{result['index']} {result['version']}",
            **({"files": files} if result["files"] else {}),
            "documents": f"{result['added']:,} added, {result['changed']:,} changed, "
            f"{result['removed']:,} removed, {result['unchanged']:,} unchanged",
            "chunks": f"{result['embedded_chunks']:,} embedded, "
            f"{result['removed_chunks']:,} removed; {result['chunks']:,} in the version now",
            "dead letters": f"{result['dead_letters']:,} {result['dead_letters_file']}",
            "seconds": seconds_by_phase(result["seconds"]),
        }
    )
    print_remarks(result["remarks"], result["reading"])
