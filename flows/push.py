"""Applies given changes to the live version: documents to add or replace, ids to remove."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.remarks import add_counts
from mrag_pipeline.domain.verdicts import is_outgrown
from mrag_pipeline.domain.version import PARTS, VersionRecord
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.dead_letters import keep_letters
from mrag_pipeline.flows.engine import flow, repeated_task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.flows.sync import (
    SyncResult,
    apply,
    calibrate,
    embed,
    finish,
    letters_of_shards,
    outcome,
    with_corpus,
    with_share,
)
from mrag_pipeline.runtime.pools import check_ray
from mrag_pipeline.settings.corpus import AUTO, CorpusSpec
from mrag_pipeline.stages.sync.apply import Applied
from mrag_pipeline.stages.sync.compare import check_same_version
from mrag_pipeline.stages.sync.push import Changes, PushComparison, compare_push
from mrag_pipeline.wiring import at_work
from mrag_pipeline.wiring.kept_encoder import keep_encoder


@dataclass(frozen=True, slots=True)
class PushResult(SyncResult):
    """What a push did; its counts and remarks are of the documents that were given."""

    unknown: int  # ids to delete that the version did not have
    repeated: bool  # whether the same changes were applied before, under the same key


@repeated_task
def compare(
    config: Config, record: VersionRecord, has_documents: bool, deleted: list[str], key: str
) -> PushComparison:
    """Compares the changes with the version's own documents; stores the difference in staging."""
    check_same_version(
        record, config.chunking, config.encoder, lambda: wiring.encoder_for(config).card
    )
    documents = None
    if has_documents:
        reading = record.reading()
        documents = wiring.reader(config, {} if PARTS in reading else reading)
    with closing(wiring.index(config)) as index:
        return compare_push(
            record,
            Changes(documents, tuple(deleted), key),
            index,
            wiring.delta(config, record.version, record.syncs + 1),
            config.ingest,
            flow_progress(config.index),
        )


@flow(name="mrag-push")
def push(
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    documents: str = "",
    document_format: str = AUTO,
    deleted: list[str] | None = None,
    key: str = "",
    wait_s: float = 0.0,
) -> dict[str, Any]:
    """Applies changes to the live version; what it costs depends on the changes alone.

    Args:
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it: {"index": "docs"}.
        documents: path or URI of documents to add or replace; their fields are the corpus's.
        document_format: of these; auto: by the file names.
        deleted: ids of documents to remove.
        key: the caller's name for these changes: they are applied once under it.
        wait_s: seconds to wait for another run on the index to end; 0: fails at once.
    Returns: a PushResult as plain values.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    check_ray(config)
    clock = PhaseTimes()
    with (
        logged(config, "push", clock.seconds, at_work.run_lock(config, wait_s)) as run,
        keep_encoder(),
    ):
        clock.between = run.keep
        record, finished = clock.time("finish", lambda: finish(config))
        run.is_of(record)
        config = with_share(with_corpus(config, record), record)
        # Of several corpora none has a say in how pushed documents are read.
        own = CorpusSpec(documents) if config.corpus.sources else config.corpus
        corpus = replace(
            own,
            uri=documents,
            format=document_format,
            include=(),
            exclude=(),
        )
        config = config.model_copy(update={"corpus": corpus})
        pushed = clock.time(
            "compare", lambda: compare(config, record, bool(documents), deleted or [], key)
        )
        compared, manifest = pushed.compared, pushed.compared.manifest
        letters = list(compared.dead_letters)
        done = Applied(record, 0, 0)
        remarks = dict(compared.remarks)
        if manifest is not None:
            totals = clock.time("embed", lambda: embed(config, record, manifest))
            add_counts(remarks, totals.remarks)
            done = clock.time("apply", lambda: apply(config, record, manifest, None))
            letters += letters_of_shards(config, record, manifest)
            if is_outgrown(done.record.config, done.record.num_chunks):
                clock.time("calibrate", lambda: calibrate(config))
        run.is_of(done.record)
        of_run = f"{record.version}-sync-{record.syncs + 1:05d}"
        letters_file = keep_letters(config, of_run, letters)
    result = PushResult(
        **outcome(record, compared, done, letters),
        unknown=pushed.unknown,
        repeated=pushed.repeated,
        finished_earlier=finished,
        dead_letters_file=letters_file,
        seconds=clock.seconds,
        remarks=remarks,
        reading=dict(record.reading()),
    )
    artifacts.phases_table(config.index, clock.rows())
    artifacts.summary(config.index, asdict(result))
    return asdict(result)
