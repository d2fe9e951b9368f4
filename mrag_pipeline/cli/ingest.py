"""`mrag ingest`: from a corpus to a live version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import typer

from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import Address, Corpus, SharedOptions, Wait, shared_options
from mrag_pipeline.cli.terminal import (
    out,
    print_facts,
    print_json,
    print_remarks,
    seconds_by_phase,
)
from mrag_pipeline.domain.confidence import shown_by_sample


@shared_options()
def ingest(
    shared: SharedOptions,
    corpus: Corpus = None,
    no_gate: Annotated[
        bool,
        typer.Option("--no-gate", help="Go live without comparing with the live version first."),
    ] = False,
    address: Address = None,
    wait: Wait = 0.0,
) -> None:
    """Build an index version from a corpus and make it live. Run it again to resume.

    Examples:
        mrag ingest pydoc: --index python
        mrag ingest articles.jsonl -s corpus.id_field=url -s workers.count=4
        mrag ingest s3://bucket/corpus/ --address ray://head:10001
    """
    shared = shared.override("corpus", "uri", corpus).override("workers", "address", address)
    config = shared.load()  # a wrong config fails before a server is started

    def prepare() -> Callable[[], dict[str, Any]]:
        from mrag_pipeline import wiring
        from mrag_pipeline.flows.ingest import ingest as ingest_flow

        wiring.import_libraries(config)
        return partial(ingest_flow, *shared.for_flow(), not no_gate, wait)

    result = run_flow(prepare, shared.json)
    if shared.json:
        print_json(result)
        return
    embedded = result["shards"] - result["reused_shards"]
    print_facts(
        {
            "version": f"{result['index']} {result['version']} is live",
            "documents": f"{result['documents']:,}",
            "chunks": f"{result['chunks']:,} in each of {result['collections']} collections",
            "dead letters": f"{result['dead_letters']:,}",
            "shards": f"{embedded} embedded, {result['reused_shards']} reused",
            "collections": f"{result['built_collections']} built, "
            f"{result['collections'] - result['built_collections']} already complete",
            "recall": f"{result['recall']:.4f} of the exact top {config.ingest.verify_k}, "
            f"lowest of {result['collections']} collections; {shown_recall(result)}",
            "seconds": seconds_by_phase(result["seconds"]),
        }
    )
    print_remarks(result["remarks"], result["reading"])
    out.print('next: `mrag search "..."`')


def shown_recall(result: Mapping[str, Any]) -> str:
    """What the sample of `verify` shows of all chunks."""
    return shown_by_sample(
        result["recall_above"],
        result["recall_confidence"],
        result["recall_queries"],
        result["recall_searched"],
    )
