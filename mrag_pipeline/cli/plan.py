"""`mrag plan`: what an ingest would do and need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from mrag_pipeline.cli.options import Corpus, SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_facts, print_json, print_remarks, size


@shared_options()
def plan(
    shared: SharedOptions,
    corpus: Corpus = None,
    left_out: Annotated[
        bool,
        typer.Option("--left-out", help="Only list the files below the folder that are not read."),
    ] = False,
) -> None:
    """Show what an ingest would do and need; fail if it cannot work.

    Examples:
        mrag plan articles.jsonl
        mrag plan s3://bucket/corpus/ --index wiki --json
    """
    if left_out:
        from mrag_pipeline import wiring

        names = wiring.reader(shared.override("corpus", "uri", corpus).load()).left_out()
        if shared.json:
            print_json({"left_out": list(names)})
            return
        for name in names:
            out.print(name)
        return
    from mrag_pipeline.flows.ingest import make_plan
    from mrag_pipeline.runtime.pools import wanted_workers

    config = shared.override("corpus", "uri", corpus).load()
    made = make_plan(config)
    manifest, estimate, card = made.manifest, made.estimate, made.manifest.encoder
    workers = wanted_workers(config, sum(shard.num_bytes for shard in manifest.shards))
    if shared.json:
        print_json(
            {
                "index": manifest.index,
                "version": manifest.version,
                "fingerprint": manifest.fingerprint,
                "corpus": made.corpus,
                "source_bytes": estimate.num_bytes,
                "documents": estimate.num_documents,
                "chunks": estimate.num_chunks,
                "tokens": estimate.num_tokens,
                "estimates_are_exact": estimate.exact,
                "shards": len(manifest.shards),
                "done_shards": made.done_shards,
                "heads": len(card.heads),
                "head_dim": card.head_dim,
                "standard_dim": card.standard_dim,
                "collections": made.collections,
                "workers": workers,
                "reading": manifest.reading(),
                "remarks": dict(estimate.remarks),
                "warnings": list(made.warnings),
                "staging_bytes": estimate.staging_bytes,
                "index_bytes": estimate.index_bytes,
                "free_bytes": made.free_bytes,
            }
        )
        return
    about = "" if estimate.exact else "about "
    print_facts(
        {
            "corpus": made.corpus,
            "source": size(estimate.num_bytes),
            "documents": f"{about}{estimate.num_documents:,}",
            "chunks": f"{about}{estimate.num_chunks:,}",
            "tokens": f"{about}{estimate.num_tokens:,}",
            "dead letters": f"{estimate.num_dead_letters} in a sample of "
            f"{estimate.sampled_documents}",
            "shards": f"{len(manifest.shards)}, {made.done_shards} already done",
            "encoder": f"{card.spec.model} ({card.family}), {card.pooling} heads",
            "heads": f"H = {len(card.heads)} of D = {card.head_dim}, standard {card.standard_dim}",
            "collections": made.collections,
            "workers": _workers_shown(workers, config.workers.phase_mb),
            "staging": f"about {size(estimate.staging_bytes)}, {size(made.free_bytes)} free",
            "index size": f"about {size(estimate.index_bytes)}",
            "version": f"{manifest.index} {manifest.version}",
        }
    )
    print_remarks(estimate.remarks, manifest.reading(), "documents of the sample")
    for warning in made.warnings:
        out.print(line(("yellow", "note"), f" {warning}"))
    out.print("next: `mrag ingest` with the same arguments")


def _workers_shown(wanted: Mapping[str, int | None], phase_mb: float) -> str:
    """How many workers there will be, for people.

    Args:
        wanted: as `wanted_workers` tells them.
        phase_mb: that another phase than embed reads at least, to have some.
    """
    shown = {
        phase: "this process" if count is None else f"{count:,}" if count else "as many as fit"
        for phase, count in wanted.items()
    }
    above = "" if wanted["other_phases"] is None else f" (of more than {phase_mb:,g} MB each)"
    return f"embed: {shown['embed']}; other phases{above}: {shown['other_phases']}"
