"""Refuses a question that cannot be answered, before anything is embedded or searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.domain.vote_spec import LEXICAL, STANDARD
from mrag_pipeline.errors import ConfigError, FingerprintMismatch, HeadsMissing
from mrag_pipeline.settings.retrieve import RetrieveSpec

if TYPE_CHECKING:
    from mrag_pipeline.domain.heads import Embeddings, EncoderCard
    from mrag_pipeline.domain.version import VersionRecord
    from mrag_pipeline.query.question import Query


def check_query(query: Query, spec: RetrieveSpec) -> Strategy:
    """The query's strategy, if the query can be searched by it.

    Raises: ConfigError for a query without text, what `choose_strategy` refuses, missing
        sub-queries, or windows where the strategy takes none.
    """
    strategy = choose_strategy(query.strategy, query.voters, spec)
    if not query.text.strip():
        raise ConfigError("a query without text", "some words to look for")
    has_text = any(text.strip() for text in query.windows)
    if strategy.windows == "sub-queries" and not has_text:
        raise ConfigError(
            f"the strategy {strategy.name} without sub-queries",
            "the query put in several ways, as an LLM would",
            "give them with the query, or use `adaptive`: it needs none",
        )
    if query.windows and strategy.windows == "query":
        raise ConfigError(
            f"windows for the strategy {strategy.name}",
            "none: it searches by the whole query",
            "leave them out, or use `adaptive` or a strategy of windows",
        )
    if query.windows and not has_text:
        raise ConfigError("windows without text", "some words in at least one of them")
    return strategy


def check_k(k: int) -> None:
    """Refuses a k below 1.

    Raises: ConfigError.
    """
    if k < 1:
        raise ConfigError(f"k = {k}", "at least 1 document to fetch")


def check_min_score(min_score: float | None) -> None:
    """Refuses a least score that no cosine is compared with.

    Raises: ConfigError.
    """
    if min_score is not None and not -1.0 <= min_score <= 1.0:
        raise ConfigError(
            f"min_score = {min_score}",
            "a cosine from -1 to 1",
            "leave it out, search, and look at the hits' `cosine`",
        )


def check_encoder(card: EncoderCard, record: VersionRecord) -> None:
    """Refuses an encoder whose vectors are not the version's.

    Raises: FingerprintMismatch.
    """
    if card.identity() != record.encoder.identity():
        raise FingerprintMismatch(
            f"the encoder {card.described()} did not build {record.version}",
            record.encoder.described(),
            "use the encoder of the version, or build a new version with `mrag ingest`",
        )


def check_embeddings(embeddings: Embeddings, record: VersionRecord) -> None:
    """Refuses embeddings that do not have the version's heads and dimensions.

    Raises: FingerprintMismatch.
    """
    shape = (len(record.encoder.heads), record.encoder.head_dim)
    if embeddings.heads.shape[1:] != shape:
        raise FingerprintMismatch(
            f"embeddings of {embeddings.heads.shape[1:]} (heads, dimensions)",
            f"{shape}, as {record.version} has them",
            "embed the query with the encoder of the version",
        )


def check_missing(missing: Sequence[str], voters: Sequence[str], min_heads: int | None) -> None:
    """Refuses an answer if fewer heads answered than the caller allows.

    Args:
        missing: the voters that did not answer; voters: all of them.
        min_heads: None: every voter must answer.
    Raises: HeadsMissing.
    """
    heads = [name for name in voters if name not in (STANDARD, LEXICAL)]
    answered = len(heads) - sum(name in heads for name in missing)
    if min_heads is None or not answered or answered < min(min_heads, len(heads)):
        allowed = "all" if min_heads is None or not heads else f"at least {min_heads}"
        raise HeadsMissing(
            f"{answered} of {len(heads)} heads answered in time, missing: {', '.join(missing)}",
            f"{allowed} of them",
            "ask again; or allow fewer with min_heads, and the answer says which are missing",
        )
