"""Describes an encoder: its spec, its model's config and its folder's settings, resolved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from mrag_pipeline.domain.heads import EncoderCard, Head
from mrag_pipeline.encoder.families import Family, ResolvedPooling
from mrag_pipeline.encoder.model_folder import ModelFolder
from mrag_pipeline.encoder.sentence_folder import SentenceSettings
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.errors import ConfigError, UnsupportedArchitecture
from mrag_pipeline.settings.encoder import EncoderSpec, Pooling


class ReadHeads(Protocol):
    """The heads that are read."""

    @property
    def head_dim(self) -> int:
        """D."""

    def heads(self) -> tuple[Head, ...]:
        """All of them, in the order of the vectors."""


def card_of(
    spec: EncoderSpec,
    folder: ModelFolder,
    config: Any,
    family: Family,
    capture: ReadHeads,
    tokenizer: TextTokenizer,
    settings: SentenceSettings,
    head_width: int,
    poolings: tuple[ResolvedPooling, ResolvedPooling],
) -> EncoderCard:
    """The card: every "auto" resolved, the model's own prompts where the spec has none.

    Args:
        config: the model's, with the names of transformers.
        head_width: of the folder's layers after pooling; 0 if it has none.
        poolings: of the heads and of the standard embedding.
    Raises: ConfigError if the model cannot read texts of `max_tokens`.
    """
    return EncoderCard(
        spec=_with_prompts(spec, settings),
        family=config.model_type,
        weights_hash=folder.weights_hash(),
        heads=capture.heads(),
        head_dim=capture.head_dim,
        standard_dim=head_width or int(config.hidden_size),
        max_tokens=_max_tokens(spec, config, family, tokenizer, settings),
        pooling=poolings[0],
        standard_pooling=poolings[1],
    )


def resolved_poolings(
    spec: EncoderSpec, family: Family, settings: SentenceSettings
) -> tuple[ResolvedPooling, ResolvedPooling]:
    """The pooling of the heads and of the standard embedding.

    Raises: UnsupportedArchitecture if the folder's own pooling cannot be reproduced.
    """
    heads = _resolved(spec.pooling, family.pooling)
    return heads, _standard_pooling(spec, family, settings)


def _resolved(pooling: Pooling, default: ResolvedPooling) -> ResolvedPooling:
    return default if pooling == "auto" else pooling


def _with_prompts(spec: EncoderSpec, settings: SentenceSettings) -> EncoderSpec:
    """The spec with the model's own prompts where it has none."""
    return replace(
        spec,
        query_prefix=spec.query_prefix or settings.query_prompt,
        document_prefix=spec.document_prefix or settings.document_prompt,
    )


def _standard_pooling(
    spec: EncoderSpec, family: Family, settings: SentenceSettings
) -> ResolvedPooling:
    if spec.standard_pooling == "auto" and settings.unknown:
        raise UnsupportedArchitecture(
            f"{spec.model} makes its sentence embedding with {settings.unknown}",
            "pooling by cls, mean or last token, then dense layers and norms",
            "set `encoder.standard_pooling` to one of these; the embedding will differ from the "
            "model's own",
        )
    return _resolved(spec.standard_pooling, settings.pooling or family.standard)


def _max_tokens(
    spec: EncoderSpec,
    config: Any,
    family: Family,
    tokenizer: TextTokenizer,
    settings: SentenceSettings,
) -> int:
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        # Beyond it, one long text changes the rotation angles of its whole batch.
        original = rope.get("original_max_position_embeddings") or positions
        positions = min(positions, int(original))
    if positions > 0 and family.positions_after_pad:
        positions -= int(config.pad_token_id) + 1
    if spec.max_tokens > 0:
        if 0 < positions < spec.max_tokens:
            raise ConfigError(
                f"encoder.max_tokens = {spec.max_tokens}",
                f"at most {positions}, the number of the model's positions",
                "set it to 0 for the model's own limit",
            )
        if spec.max_tokens <= tokenizer.num_special:
            raise ConfigError(
                f"encoder.max_tokens = {spec.max_tokens}",
                f"more than the {tokenizer.num_special} special tokens that every text has",
                "set it to 0 for the model's own limit",
            )
        return spec.max_tokens
    limits = [settings.max_tokens or tokenizer.model_limit, positions]
    return min((limit for limit in limits if limit > 0), default=512)
