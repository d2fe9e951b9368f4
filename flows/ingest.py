"""A new index version: plan, embed, load, verify, publish. Run it again to go on or to check."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows import artifacts
from flows.progress import current
from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexUnavailable, StagingError
from mrag_pipeline.ports import Progress
from mrag_pipeline.runtime.pools import open_pool
from mrag_pipeline.stages.embed import EmbedTotals
from mrag_pipeline.stages.embed import embed as embed_stage
from mrag_pipeline.stages.load import load as load_stage
from mrag_pipeline.stages.plan import Plan
from mrag_pipeline.stages.plan import plan as plan_stage
from mrag_pipeline.stages.publish import publish as publish_stage
from mrag_pipeline.stages.reconcile import Staged, reconcile
from mrag_pipeline.stages.verify import CollectionCheck
from mrag_pipeline.stages.verify import verify as verify_stage


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What a run did."""

    index: str
    version: str
    documents: int
    chunks: int
    dead_letters: int
    shards: int
    reused_shards: int
    collections: int
    built_collections: int
    tokens: int  # of all shards, reused ones counted
    seconds: dict[str, float]  # by phase
    was_live: bool  # before the run


def make_plan(config: Config) -> Plan:
    """What an ingest of this config would do; writes nothing but an empty index folder.

    Raises: what cannot work, before anything is spent.
    """
    reader = wiring.reader(config)
    encoder = wiring.encoder(config)
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


def _unanswered(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only a server that did not answer is worth another try of the whole phase."""
    return isinstance(state.result(raise_on_failure=False), IndexUnavailable)


_AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": _unanswered,
    "cache_policy": NO_CACHE,
}


@task(**_AGAIN)
def plan(config: Config) -> str:
    """The version's name, its manifest stored."""
    made = make_plan(config)
    wiring.staging(config, made.manifest.version).write_manifest(made.manifest)
    _progress(config).note(
        f"plan: {made.corpus}; version {made.manifest.version}, {len(made.manifest.shards)} shards"
    )
    return made.manifest.version


@task(cache_policy=NO_CACHE)
def embed(config: Config, version: str) -> tuple[EmbedTotals, Staged]:
    """Every shard staged, duplicates found."""
    staging = wiring.staging(config, version)
    manifest = _manifest(config, version)
    progress = _progress(config)
    totals = embed_stage(
        manifest, staging, lambda: open_pool(config, manifest), config.ingest, progress
    )
    return totals, reconcile(manifest, staging, progress)


@task(**_AGAIN)
def load(config: Config, version: str, num_chunks: int) -> int:
    """Every collection whole; how many were built."""
    with closing(wiring.index(config)) as index:
        staging = wiring.staging(config, version)
        return load_stage(_manifest(config, version), staging, index, num_chunks, _progress(config))


@task(**_AGAIN)
def verify(config: Config, version: str, num_chunks: int) -> list[CollectionCheck]:
    """The loaded collections are what was staged."""
    with closing(wiring.index(config)) as index:
        staging = wiring.staging(config, version)
        return verify_stage(
            _manifest(config, version),
            staging,
            index,
            num_chunks,
            config.ingest,
            _progress(config),
        )


@task(**_AGAIN)
def publish(config: Config, version: str, staged: Staged) -> tuple[VersionRecord, bool]:
    """The version is live; whether it was before."""
    with closing(wiring.index(config)) as index:
        was_live = index.live() == version
        return publish_stage(_manifest(config, version), staged, index), was_live


@flow(name="mrag-ingest", validate_parameters=True)
def ingest(
    config_file: str | None = None, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Builds an index version from a corpus and makes it live.

    Args:
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: values over those of the file, nested like it: {"corpus": {"uri": "..."}}.
    Returns: an IngestResult as plain values.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    clock = _Clock()
    with wiring.run_lock(config):
        version = clock.time("plan", lambda: plan(config))
        totals, staged = clock.time("embed", lambda: embed(config, version))
        built = clock.time("load", lambda: load(config, version, staged.num_chunks))
        checks = clock.time("verify", lambda: verify(config, version, staged.num_chunks))
        _, was_live = clock.time("publish", lambda: publish(config, version, staged))
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
        tokens=totals.tokens,
        seconds=clock.seconds,
        was_live=was_live,
    )
    artifacts.phases_table(
        config.index, [{"phase": name, "seconds": s} for name, s in clock.seconds.items()]
    )
    artifacts.summary(config.index, asdict(result))
    return asdict(result)


class _Clock:
    """How long each phase took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, phase: str, work: Any) -> Any:
        """The work's result; its time is kept under the phase's name."""
        started = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[phase] = round(time.monotonic() - started, 2)


def _progress(config: Config) -> Progress:
    return artifacts.ArtifactProgress(current(), artifacts.key_of(config.index))


def _manifest(config: Config, version: str) -> Manifest:
    staging = wiring.staging(config, version)
    manifest = staging.manifest()
    if manifest is None:
        raise StagingError(
            f"no manifest in {staging.describe()}",
            "the plan of this run",
            "run `mrag ingest` again",
        )
    return manifest
