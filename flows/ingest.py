"""Builds a new index version: plan, embed, load, verify, calibrate, gate, publish.

Run it again to resume.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.gate import Verdict
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.verdicts import levels_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import EmptyCorpus, GateClosed, StagingError, TooManyDeadLetters
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.dead_letters import keep_letters, staged_letters
from mrag_pipeline.flows.engine import flow, repeated_task, task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime.pools import check_ray, load_pools, open_pool, phase_pools
from mrag_pipeline.stages.ingest.embed import EmbedTotals
from mrag_pipeline.stages.ingest.embed import embed as embed_stage
from mrag_pipeline.stages.ingest.gate import gate as gate_stage
from mrag_pipeline.stages.ingest.load import load as load_stage
from mrag_pipeline.stages.ingest.plan import Plan, store_plan
from mrag_pipeline.stages.ingest.plan import plan as plan_stage
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.publish import publish as publish_stage
from mrag_pipeline.stages.ingest.reconcile import StagedCounts, reconcile
from mrag_pipeline.stages.ingest.verify import CollectionCheck, VerifiedRecall
from mrag_pipeline.stages.ingest.verify import verify as verify_stage
from mrag_pipeline.stages.versions.calibrate import calibrated
from mrag_pipeline.wiring import answering, at_work
from mrag_pipeline.wiring.kept_encoder import keep_encoder
from mrag_pipeline.wiring.labelled import labelled_queries
from mrag_pipeline.wiring.phase_work import loader, reconciler, verifier


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest did."""

    index: str
    version: str
    documents: int
    chunks: int
    dead_letters: int
    shards: int
    reused_shards: int
    collections: int
    built_collections: int
    recall: float  # lowest of all collections, against exact search on a sample
    recall_above: float  # of all chunks, in every collection, at recall_confidence
    recall_confidence: float
    recall_queries: int  # chunks of that sample
    recall_searched: float  # share of the shards in which their neighbours were looked for
    tokens: int  # of all shards, reused ones included
    seconds: dict[str, float]  # by phase
    was_live: bool  # before the run
    dead_letters_file: str = ""  # empty if there were none
    remarks: dict[str, int] = field(default_factory=dict)  # documents, by what is told of them
    reading: dict[str, Any] = field(default_factory=dict)  # which fields are what


def make_plan(config: Config) -> Plan:
    """What an ingest of this config would do; writes nothing but an empty index folder.

    Raises: the error that an ingest would end with, as far as it can be known before it starts.
    """
    reader = wiring.reader(config)
    encoder = wiring.encoder_for(config)
    segmenter = wiring.segmenter(config, encoder)
    with closing(wiring.index(config)) as index:
        return plan_stage(
            wiring.request(config),
            reader,
            encoder,
            segmenter,
            lambda version: wiring.staging(config, version),
            index,
        )


@repeated_task
def plan(config: Config) -> str:
    """Stores the plan's manifest and returns the version's name."""
    try:
        made = make_plan(config)
    except EmptyCorpus as error:
        letters = [one for one in error.dead_letters if isinstance(one, DeadLetter)]
        keep_letters(config, error.run, letters)
        raise
    staging = wiring.staging(config, made.manifest.version)
    return store_plan(made, staging, flow_progress(config.index))


@task
def embed(config: Config, version: str) -> tuple[EmbedTotals, StagedCounts]:
    """Stages every shard and finds duplicates."""
    staging = wiring.staging(config, version)
    manifest = _manifest(config, version)
    progress = flow_progress(config.index)
    totals = embed_stage(
        manifest, staging, lambda: open_pool(config, manifest), config.ingest, progress
    )
    pools = phase_pools(config, partial(reconciler, version))
    return totals, reconcile(manifest, staging, config.ingest, progress, pools)


@repeated_task
def load(config: Config, version: str, num_chunks: int) -> int:
    """Loads every collection and returns how many had to be built."""
    with closing(wiring.index(config)) as index:
        return load_stage(
            _manifest(config, version),
            wiring.staging(config, version),
            index,
            num_chunks,
            flow_progress(config.index),
            load_pools(config, partial(loader, version), index),
            config.milvus.range_mb * 1e6,
        )


@repeated_task
def verify(config: Config, version: str, num_chunks: int) -> list[CollectionCheck]:
    """Checks that the loaded collections are what was staged."""
    with closing(wiring.index(config)) as index:
        staging = wiring.staging(config, version)
        return verify_stage(
            _manifest(config, version),
            staging,
            index,
            num_chunks,
            config.ingest,
            flow_progress(config.index),
            phase_pools(config, partial(verifier, version), index.capabilities().is_shared),
        )


@repeated_task
def calibrate(
    config: Config, version: str, staged: StagedCounts, checks: list[CollectionCheck]
) -> VersionRecord:
    """Writes the version's record, with the levels of its verdicts if it has none yet."""
    with closing(wiring.index(config)) as index:
        record = keep_ready(_manifest(config, version), staged, index, checks)
        if levels_in(record.config) is None:
            record = calibrated(record, wiring.encoder_for(config), index)
            index.write_record(record)
        return record


@repeated_task
def publish(
    config: Config, version: str, staged: StagedCounts, checks: list[CollectionCheck]
) -> tuple[VersionRecord, bool]:
    """Makes the version live. Returns its record, and whether it was live before."""
    with closing(wiring.index(config)) as index:
        was_live = index.live() == version
        return publish_stage(_manifest(config, version), staged, index, checks), was_live


@repeated_task
def gate(
    config: Config, version: str, staged: StagedCounts, checks: list[CollectionCheck]
) -> Verdict:
    """Compares the version with the live one; a rejected version is kept for inspection."""
    with closing(wiring.index(config)) as index:
        return gate_stage(
            _manifest(config, version),
            staged,
            checks,
            index,
            config.gate,
            labelled_queries,
            lambda record: answering.version_retriever(config, index, record),
            flow_progress(config.index),
        )


@flow(name="mrag-ingest")
def ingest(
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    use_gate: bool = True,
    wait_s: float = 0.0,
) -> dict[str, Any]:
    """Builds an index version from a corpus and makes it live.

    Args:
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it: {"corpus": {"uri": "..."}}.
        use_gate: compare with the live version before replacing it ([gate]).
        wait_s: seconds to wait for another run on the index to end; 0: fails at once.
    Returns: an IngestResult as plain values.
    Raises: GateClosed if the new version is worse; it is complete and can be activated by name.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    check_ray(config)
    clock = PhaseTimes()
    with (
        logged(config, "ingest", clock.seconds, at_work.run_lock(config, wait_s)) as run,
        keep_encoder(),
    ):
        clock.between = run.keep
        run.version = version = clock.time("plan", lambda: plan(config))
        try:
            totals, staged = clock.time("embed", lambda: embed(config, version))
            run.documents, run.chunks = staged.num_documents, staged.num_chunks
        except (TooManyDeadLetters, EmptyCorpus):
            keep_letters(config, version, _letters(config, version, is_cut_short=True))
            raise
        letters_file = keep_letters(config, version, _letters(config, version))
        built = clock.time("load", lambda: load(config, version, staged.num_chunks))
        checks = clock.time("verify", lambda: verify(config, version, staged.num_chunks))
        artifacts.recall_table(config.index, checks)
        clock.time("calibrate", lambda: calibrate(config, version, staged, checks))
        if use_gate:
            verdict = clock.time("gate", lambda: gate(config, version, staged, checks))
            artifacts.verdict(config.index, version, verdict)
            if not verdict.is_open:
                raise GateClosed(
                    f"{version} is complete but was not made live: " + "; ".join(verdict.reasons),
                    "a version no worse than the live one",
                    f"inspect it (`mrag audit --version {version}`); `mrag activate {version}` "
                    "makes it live anyway",
                )
        record, was_live = clock.time("publish", lambda: publish(config, version, staged, checks))
    verified = VerifiedRecall.of(checks)
    result = IngestResult(
        index=config.index,
        version=version,
        documents=staged.num_documents,
        chunks=staged.num_chunks,
        dead_letters=staged.num_dead_letters,
        shards=totals.shards,
        reused_shards=totals.reused_shards,
        collections=len(checks),
        built_collections=built,
        recall=verified.recall,
        recall_above=verified.recall_above,
        recall_confidence=verified.confidence,
        recall_queries=verified.queries,
        recall_searched=verified.searched,
        tokens=totals.tokens,
        seconds=clock.seconds,
        was_live=was_live,
        dead_letters_file=letters_file,
        remarks=totals.remarks,
        reading=dict(record.reading()),
    )
    artifacts.phases_table(config.index, clock.rows())
    artifacts.summary(config.index, asdict(result))
    artifacts.importance(config.index, record)
    return asdict(result)


def _letters(config: Config, version: str, is_cut_short: bool = False) -> list[DeadLetter]:
    """The dead letters of all shards; if the run is cut short, of those that are staged."""
    staging, manifest = wiring.staging(config, version), _manifest(config, version)
    shards = [shard.index for shard in manifest.shards]
    if is_cut_short:
        receipts = staging.receipts(shards, manifest.fingerprint)
        shards = [receipt.shard for receipt in receipts if receipt is not None]
    return staged_letters(staging, shards)


def _manifest(config: Config, version: str) -> Manifest:
    staging = wiring.staging(config, version)
    manifest = staging.manifest()
    if manifest is None:
        raise StagingError(
            f"no manifest in {staging.describe()}",
            "the plan of this run",
            "run `mrag ingest` again",
        )
    # What this run allows, not the run that planned: a replay is allowed the same.
    return replace(manifest, config={**manifest.config, "ingest": config.to_dict()["ingest"]})
