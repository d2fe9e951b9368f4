"""Brings the live version up to date: adds, changes and removes documents, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.dead_letters import num_set_aside
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.remarks import add_counts
from mrag_pipeline.domain.verdicts import levels_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.dead_letters import keep_letters, staged_letters
from mrag_pipeline.flows.engine import flow, repeated_task, task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime.pools import apply_pools, check_ray, open_pool, phase_pools
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.embed import EmbedTotals
from mrag_pipeline.stages.ingest.embed import embed as embed_stage
from mrag_pipeline.stages.sync import apply as sync_stage
from mrag_pipeline.stages.sync import compare as compare_stage
from mrag_pipeline.stages.sync.apply import Applied
from mrag_pipeline.stages.sync.compare import SyncComparison, SyncScope
from mrag_pipeline.stages.versions.calibrate import calibrated
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.wiring import at_work
from mrag_pipeline.wiring.embedders import delta_embedder
from mrag_pipeline.wiring.kept_encoder import keep_encoder
from mrag_pipeline.wiring.phase_work import applier, corpus_comparer


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync did."""

    index: str
    version: str
    added: int  # documents, as are the next three
    changed: int
    removed: int
    unchanged: int
    finished_earlier: bool  # whether an interrupted sync was finished first
    embedded_chunks: int
    removed_chunks: int
    documents: int  # in the version now
    chunks: int
    dead_letters: int
    dead_letters_file: str  # empty if there were none
    seconds: dict[str, float]  # by phase
    remarks: dict[str, int]  # documents of the corpus, by what is told of them
    reading: dict[str, Any]  # which fields are what
    files: int  # of the corpus; 0 where it is something else
    unread_files: int  # those that have not changed since the last sync, and were not read


def outcome(
    record: VersionRecord,
    compared: SyncComparison,
    done: Applied,
    letters: Sequence[DeadLetter],
) -> dict[str, Any]:
    """The fields of a SyncResult that say what became of documents, chunks and files."""
    difference = compared.difference
    return {
        "index": record.index,
        "version": record.version,
        "added": difference.added,
        "changed": difference.changed,
        "removed": difference.removed,
        "unchanged": difference.unchanged,
        "embedded_chunks": done.chunks_added,
        "removed_chunks": done.chunks_removed,
        "documents": done.record.num_documents,
        "chunks": done.record.num_chunks,
        "dead_letters": num_set_aside(letters),
        "files": compared.files,
        "unread_files": compared.unread_files,
    }


@repeated_task
def finish(config: Config) -> tuple[VersionRecord, bool]:
    """The live version's record, after finishing an interrupted sync if there is one."""
    with closing(wiring.index(config)) as index:
        record = live_record(index)
        delta = wiring.delta(config, record.version, record.syncs + 1)
        manifest = sync_stage.unfinished(record, delta)
        if manifest is not None:
            # Shards that were lost since. What the difference holds was allowed when it was found.
            allowed = replace(config.ingest, max_dead_letter_share=1.0)
            _embed(config, record, manifest, allowed)
        pools = apply_pools(config, partial(applier, record, record.pending), index)
        progress = flow_progress(config.index)
        return sync_stage.finish(record, delta, index, config.ingest, progress, pools)


@repeated_task
def compare(config: Config, record: VersionRecord, scope: SyncScope) -> SyncComparison:
    """Compares the corpus with the version; stores the difference in staging."""
    compare_stage.check_same_version(
        record, config.chunking, config.encoder, lambda: wiring.encoder_for(config).card
    )
    with closing(wiring.index(config)) as index:
        return compare_stage.compare(
            record,
            wiring.reader(config, record.reading()),
            index,
            wiring.delta(config, record.version, record.syncs + 1),
            config.sync,
            config.ingest,
            scope,
            flow_progress(config.index),
            # Workers read the corpus also where one process has the index.
            phase_pools(config, partial(corpus_comparer, record, scope.only)),
            index.capabilities().is_shared,
            wiring.read_cache(config),
        )


@task
def embed(config: Config, record: VersionRecord, manifest: Manifest) -> EmbedTotals:
    """Stages the new and changed documents."""
    return _embed(config, record, manifest, config.ingest)


def _embed(
    config: Config, record: VersionRecord, manifest: Manifest, spec: IngestSpec
) -> EmbedTotals:
    number = record.syncs + 1
    return embed_stage(
        manifest,
        wiring.delta(config, record.version, number),
        lambda: open_pool(config, manifest, partial(delta_embedder, number)),
        spec,
        flow_progress(config.index),
        may_be_empty=True,
    )


@repeated_task
def apply(
    config: Config, record: VersionRecord, manifest: Manifest, dead_letters: int | None
) -> Applied:
    """Applies the difference to the index, its record and importance included."""
    with closing(wiring.index(config)) as index:
        # Read again: an earlier try may have started, or finished without an answer.
        before, record = record, live_record(index)
        if record.syncs > before.syncs:
            return Applied(record, 0, 0)
        delta = wiring.delta(config, record.version, record.syncs + 1)
        return sync_stage.apply(
            record,
            manifest,
            delta,
            index,
            dead_letters,
            config.ingest,
            flow_progress(config.index),
            apply_pools(config, partial(applier, record, manifest.fingerprint), index),
        )


@repeated_task
def equal(config: Config, record: VersionRecord, reading: Mapping[str, Any]) -> VersionRecord:
    """The record of a version that is equal to its corpus; written if anything in it changes."""
    with closing(wiring.index(config)) as index:
        return sync_stage.found_equal(record, reading, index)


@repeated_task
def calibrate(config: Config) -> VersionRecord:
    """Measures anew what is found by chance, from which verdicts take their levels."""
    with closing(wiring.index(config)) as index:
        record = calibrated(live_record(index), wiring.encoder_for(config), index)
        index.write_record(record)
        return record


@flow(name="mrag-sync")
def sync(
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    allow_deletes: bool = False,
    only: list[str] | None = None,
    wait_s: float = 0.0,
    full: bool = False,
) -> dict[str, Any]:
    """Brings the live version up to date with its corpus; embeds only what is new or changed.

    Args:
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it: {"corpus": {"uri": "..."}}.
        allow_deletes: delete documents even beyond sync.max_deleted_share.
        only: document ids or sources; no other document is embedded, and none is removed.
        wait_s: seconds to wait for another run on the index to end; 0: fails at once.
        full: read also files that have not changed since the last sync, and rows of a database that
            cannot have changed by corpus.updated_field.
    Returns: a SyncResult as plain values.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    check_ray(config)
    clock = PhaseTimes()
    with (
        logged(config, "sync", clock.seconds, at_work.run_lock(config, wait_s)) as run,
        keep_encoder(),
    ):
        clock.between = run.keep
        record, finished = clock.time("finish", lambda: finish(config))
        run.version = record.version
        config = with_corpus(config, record)
        types = {**record.reading().get("types", {}), **config.corpus.types}
        if only is not None:
            config = with_share(config, record)
        scope = SyncScope(allow_deletes, frozenset(only) if only is not None else None, full)
        compared = clock.time("compare", lambda: compare(config, record, scope))
        letters = list(compared.dead_letters)
        done, manifest = Applied(record, 0, 0), compared.manifest
        remarks = dict(compared.remarks)
        is_told = record.pushes or compared.reading != record.reading()
        if manifest is None and only is None and is_told:
            done = replace(done, record=equal(config, record, compared.reading))
        if manifest is not None:
            totals = clock.time("embed", lambda: embed(config, record, manifest))
            add_counts(remarks, totals.remarks)  # of texts that are too long; compare told the rest
            dead = compared.difference.num_dead_letters
            done = clock.time("apply", lambda: apply(config, record, manifest, dead))
            letters += letters_of_shards(config, record, manifest)
        if manifest is not None or finished or levels_in(record.config) is None:
            clock.time("calibrate", lambda: calibrate(config))
        number = done.record.syncs
        run.documents, run.chunks = done.record.num_documents, done.record.num_chunks
        letters_file = keep_letters(config, f"{record.version}-sync-{number:05d}", letters)
    result = SyncResult(
        **outcome(record, compared, done, letters),
        finished_earlier=finished,
        dead_letters_file=letters_file,
        seconds=clock.seconds,
        remarks=remarks,
        reading={**record.reading(), "types": types},
    )
    artifacts.phases_table(config.index, clock.rows())
    artifacts.summary(config.index, asdict(result))
    artifacts.importance(config.index, done.record)
    return asdict(result)


def with_corpus(config: Config, record: VersionRecord) -> Config:
    """The config, with the corpus that the version was built from if it names none."""
    known = record.config.get("corpus")
    if config.corpus.uri or not isinstance(known, dict):
        return config
    return Config.parse(config.to_dict() | {"corpus": known})


def with_share(config: Config, record: VersionRecord) -> Config:
    """The config, which allows as many dead letters as the version's ingest was allowed."""
    ingest = record.config.get("ingest")
    allowed = ingest.get("max_dead_letter_share", 0.0) if isinstance(ingest, dict) else 0.0
    share = max(config.ingest.max_dead_letter_share, allowed)
    spec = replace(config.ingest, max_dead_letter_share=share)
    return config.model_copy(update={"ingest": spec})


def letters_of_shards(
    config: Config, record: VersionRecord, manifest: Manifest
) -> list[DeadLetter]:
    """Documents that could not be embedded, and those that `apply` left out."""
    delta = wiring.delta(config, record.version, record.syncs + 1)
    return staged_letters(delta, [shard.index for shard in manifest.shards])
