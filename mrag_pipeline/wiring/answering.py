"""What answers questions: the retriever of a version, the reranker, the chat model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.settings.rerank import RerankSpec

if TYPE_CHECKING:
    from mrag_pipeline.domain.version import VersionRecord
    from mrag_pipeline.llm.chat import ChatModel, ChatStream
    from mrag_pipeline.ports import QueryIndex, Reranker
    from mrag_pipeline.query.rerank import Reranking
    from mrag_pipeline.query.retriever import Retriever


def retriever(
    config: Config, index: QueryIndex, record: VersionRecord, few: bool = False
) -> Retriever:
    """Searches one version of the index with the config's encoder.

    Args:
        few: for a person's questions, who waits for the first; not for a data set's.
    Raises: FingerprintMismatch if another encoder built the version.
    """
    from mrag_pipeline.query.retriever import Retriever

    loaded = wiring.encoder_for(config) if few else wiring.encoder(config)
    return Retriever(
        loaded, wiring.segmenter(config, loaded), index, record, config.retrieve, reranking(config)
    )


def version_retriever(config: Config, index: QueryIndex, record: VersionRecord) -> Retriever:
    """Searches one version of the index with the encoder and chunking that built it.

    In the vote's order: versions are compared, not rerankers.
    """
    built_with = {
        "encoder": record.encoder.spec,
        "chunking": record.chunking,
        "rerank": RerankSpec(),
    }
    return retriever(config.model_copy(update=built_with), index, record)


def reranker(config: Config, threads: int = 0) -> Reranker:
    """The config's reranker, ready to score; close it. With 0 threads, torch chooses the number.

    Raises: NotConfigured if it names none; ConfigError, and for a local model ModelNotFound,
    UnsafeWeights, UnsupportedArchitecture.
    """
    from mrag_pipeline.query.rerank import is_reranked

    spec = config.rerank
    is_reranked(True, spec.is_configured)
    if spec.url:
        from mrag_pipeline.rerank.endpoint import EndpointReranker

        return EndpointReranker(spec)
    from mrag_pipeline.encoder.lean_imports import lean_imports

    with lean_imports():
        from mrag_pipeline.encoder.cross_encoder import load_cross_encoder

        return load_cross_encoder(spec, threads)


def reranking(config: Config) -> Reranking | None:
    """What rescores the documents of answers; None if the config names no reranker."""
    from mrag_pipeline.query.rerank import Reranking

    if not config.rerank.is_configured:
        return None
    return Reranking(reranker(config), config.rerank, config.retrieve)


def chat_model(config: Config) -> ChatModel:
    """The config's chat model; close it.

    Raises: ConfigError if it names none.
    """
    from mrag_pipeline.llm.chat import ChatModel

    return ChatModel(config.llm)


def chat_stream(config: Config) -> ChatStream:
    """The config's chat model, streaming its answers to one event loop.

    Raises: ConfigError if it names none.
    """
    from mrag_pipeline.llm.chat import ChatStream

    return ChatStream(config.llm)
