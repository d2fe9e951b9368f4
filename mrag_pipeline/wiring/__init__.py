"""The only package that chooses implementations, importing each when it is first needed.

`embedders` and `phase_work` put together what workers need, `answering` what answers questions;
`labelled` finds labelled queries, `kept_encoder` keeps a run's encoder, `models` says what a model
is, `at_work` who is at work on an index.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any

from mrag_pipeline import __version__
from mrag_pipeline.config import Config
from mrag_pipeline.domain.worker_plan import is_light_work
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.wiring.kept_encoder import is_kept, kept_or

if TYPE_CHECKING:
    from mrag_pipeline.domain.version import VersionRecord
    from mrag_pipeline.encoder.segmenter import TokenizingEncoder
    from mrag_pipeline.encoder.transformer import TransformerEncoder
    from mrag_pipeline.index.milvus.store import MilvusStore
    from mrag_pipeline.ports import (
        CorpusReader,
        DeltaStaging,
        Export,
        ReadCache,
        Segmenter,
        Staging,
        VectorIndex,
    )
    from mrag_pipeline.stages.ingest.plan import Request
    from mrag_pipeline.stages.versions import lost_record
    from mrag_pipeline.stages.versions.staged_version import StagedVersion
    from mrag_pipeline.staging.dead_letters import DeadLetterFiles
    from mrag_pipeline.staging.run_files import RunFiles


def reader(config: Config, reading: Mapping[str, Any] | None = None) -> CorpusReader:
    """The corpus reader for the config's URI.

    Args:
        reading: how a version's corpus was read; None finds it out.
    Raises: ConfigError if no corpus is named; CorpusNotFound.
    """
    if not config.corpus.uri:
        raise ConfigError(
            "no corpus is named",
            "a path or URI",
            "pass it to the command (`mrag ingest docs.jsonl`) or set corpus.uri in mrag.toml",
        )
    from mrag_pipeline.corpus.reader import open_corpus

    return open_corpus(config.corpus, reading)


def given_corpus(source: object, folder: str, index: str) -> dict[str, Any]:
    """The `[corpus]` settings of documents that a program holds, written below the folder.

    Args:
        folder: path or URI; index: the folder's own that keeps them.

    Raises: ConfigError if it is no source of documents; StagingError, StorageFull.
    """
    from mrag_pipeline.staging.given import write_given

    return write_given(folder, index, source)


def forget_given(config: Config, records: Iterable[VersionRecord], before: datetime) -> list[str]:
    """Removes the files of `given_corpus` that none of these versions was built from."""
    from mrag_pipeline.staging.given import forget_given

    in_use = {str(record.config.get("corpus", {}).get("uri", "")) for record in records}
    return forget_given(config.staging.uri, config.index, in_use, before)


def encoder(config: Config, threads: int = 0, device: str = "") -> TransformerEncoder:
    """The encoder, loaded and ready.

    Args:
        threads: of torch; 0 leaves the number to it.
        device: its name; empty: that of a driver. Who embeds for the index, or answers for the
            service, names `workers.device`: a worker without its GPU would be slow unnoticed.
    Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture; ConfigError, also if this machine
        does not have the device.
    """
    from mrag_pipeline.encoder.lean_imports import lean_imports

    device = device or config.workers.driver_device
    batch_tokens = config.workers.batch_tokens
    with lean_imports():
        from mrag_pipeline.encoder.transformer import load_encoder

        loaded = kept_or(
            _encoder_key(config, device),
            lambda: load_encoder(
                config.encoder, device=device, batch_tokens=batch_tokens, threads=threads
            ),
        )
    if threads > 0:
        loaded.use_threads(threads)
    return loaded


def encoder_for(
    config: Config, num_bytes: int = 0, threads: int = 0, device: str = ""
) -> TokenizingEncoder:
    """The encoder for so many bytes of text: for a few, one that does not import torch.

    That one is for the models that `light_encoder.py` can run, and on a CPU; its vectors are the
    same. Arguments and errors are those of `encoder`.
    """
    device = device or config.workers.driver_device
    if is_light_work(num_bytes) and not is_kept(_encoder_key(config, device)):
        from mrag_pipeline.encoder.light_encoder import is_light, load_light_encoder

        spec = config.encoder
        if is_light(spec, device):
            light = kept_or(("light", spec, device), lambda: load_light_encoder(spec))
            light.use_threads(threads)
            return light
    return encoder(config, threads, device)


def _encoder_key(config: Config, device: str) -> tuple[object, ...]:
    return config.encoder, device, config.workers.batch_tokens


def import_libraries(config: Config) -> None:
    """Imports what planning and the index will need: seconds, in a process that waits anyway."""
    from mrag_pipeline.encoder.light_encoder import is_light

    if not is_light(config.encoder, config.workers.driver_device):
        from mrag_pipeline.encoder.lean_imports import lean_imports

        with lean_imports():
            importlib.import_module("mrag_pipeline.encoder.transformer")
    store(config)


def spare_pandas() -> None:
    """For a command, which holds nothing of pandas: no library imports it to see so."""
    from mrag_pipeline.staging.lean_arrow import spare_pandas

    spare_pandas()


def segmenter(config: Config, encoder: TokenizingEncoder) -> Segmenter:
    """Cuts texts by the encoder's tokens."""
    from mrag_pipeline.encoder.segmenter import open_segmenter

    return open_segmenter(encoder, config.chunking)


def staging(config: Config, version: str) -> Staging:
    """The staging of one version; a server that imports files gets them as it reads them."""
    from mrag_pipeline.staging.bulk_files import IN_PLACE_BYTES
    from mrag_pipeline.staging.shards import open_staging

    milvus = config.milvus
    is_imported = milvus.bulk_uri != "" and milvus.vector_dtype == "float32"
    return open_staging(
        config.staging, config.index, version, IN_PLACE_BYTES if is_imported else inf
    )


def delta(config: Config, version: str, number: int) -> DeltaStaging:
    """The staging of one sync of a version."""
    from mrag_pipeline.staging.deltas import open_delta

    return open_delta(config.staging, config.index, version, number)


def staged_version(config: Config, record: VersionRecord) -> StagedVersion | None:
    """All staging of a version, including its syncs'; None if a part of it is missing."""
    from mrag_pipeline.stages.versions.staged_version import StagedVersion

    base = staging(config, record.version)
    return StagedVersion.open(record, base, lambda number: delta(config, record.version, number))


def found_version(
    config: Config, index: VectorIndex, version: str | None
) -> lost_record.FoundVersion:
    """The version that a repair is of, its record made anew from staging if it is lost."""
    from mrag_pipeline.stages.versions import lost_record

    return lost_record.found_version(
        index,
        version,
        lambda name: staging(config, name),
        lambda name, number: delta(config, name, number),
    )


def forget_staging(config: Config, version: str) -> None:
    """Removes a version's staging, including its syncs'."""
    from mrag_pipeline.staging.shards import ShardFolders

    ShardFolders(config.staging, config.index, version).remove()


def export(uri: str) -> Export:
    """A version's export at a path or URI."""
    from mrag_pipeline.staging.exports import open_export

    return open_export(uri)


def dead_letters(config: Config) -> DeadLetterFiles:
    """The dead letters of the index's runs."""
    from mrag_pipeline.staging.dead_letters import DeadLetterFiles

    return DeadLetterFiles(config.staging, config.index)


def run_files(config: Config) -> RunFiles:
    """What is kept of the index's runs."""
    from mrag_pipeline.staging.run_files import RunFiles

    return RunFiles(config.staging, config.index)


def read_cache(config: Config) -> ReadCache:
    """What the last sync has read of the corpus's files; another way of reading is another key."""
    from mrag_pipeline.corpus.reading_libraries import versions
    from mrag_pipeline.staging.read_cache_files import ReadCacheFolder

    basis = {"corpus": asdict(config.corpus), "mrag": __version__, "libraries": versions()}
    return ReadCacheFolder(config.staging, config.index, basis)


def index(config: Config) -> VectorIndex:
    """The vector index; close it."""
    if not config.milvus.bulk_uri:
        return store(config).open()
    from mrag_pipeline.staging.bulk_files import BulkFolder

    return store(config).open(BulkFolder(config.milvus.bulk_uri, config.milvus.bulk_path))


def index_is_shared(config: Config) -> bool:
    """Whether several processes may have the index open at once, before it is opened.

    Once it is open, `capabilities().is_shared` says the same.
    """
    return store(config).local_path() is None


def store(config: Config) -> MilvusStore:
    """The store that holds the index, not opened: the only line that names one."""
    from mrag_pipeline.index.milvus.lean_import import import_pymilvus

    import_pymilvus()
    from mrag_pipeline.index.milvus.store import MilvusStore

    return MilvusStore(config.milvus, config.index)


def request(config: Config) -> Request:
    """The plan stage's request for this config."""
    from mrag_pipeline.stages.ingest.plan import Request

    return Request(
        index=config.index,
        corpus=config.corpus.identity(),
        chunking=config.chunking,
        sharding=config.sharding,
        vector_dtype=config.staging.vector_dtype,
        config=config.to_dict(),
        lexical=config.lexical,
    )
