"""Texts to head embeddings with a transformers model, one forward pass.

Shape legend: N texts, B texts of a batch, T tokens, H heads (of all layers read),
D head dimension, E standard width.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from mrag_pipeline.domain.heads import Embeddings, EncoderCard, EncoderSpec, Pooling, Role
from mrag_pipeline.domain.packing import padded_batches
from mrag_pipeline.encoder.architectures import (
    FAMILIES,
    Capture,
    Family,
    ResolvedPooling,
    find_capture,
)
from mrag_pipeline.encoder.sentence_folder import SentenceSettings, sentence_settings
from mrag_pipeline.encoder.source import ModelFolder, find_model
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.errors import BadVectors, ConfigError, ModelNotFound, UnsupportedArchitecture

log = logging.getLogger(__name__)

PaddingSide = Literal["left", "right"]

# Encoder-decoder families whose checkpoints may hold the encoder alone.
ENCODER_CLASSES = {
    "mt5": "MT5EncoderModel",
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
}
_UNKNOWN_CAUSAL = Family("", "last", "last")
_UNKNOWN_BIDIRECTIONAL = Family("", "cls", "mean")


def load_encoder(
    spec: EncoderSpec,
    *,
    device: str = "auto",
    batch_tokens: int = 16_384,
    threads: int = 0,
    padding_side: PaddingSide = "right",
) -> TransformerEncoder:
    """The encoder that the spec asks for, ready to encode.

    Args:
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps.
        batch_tokens: most tokens in one forward pass, padding counted.
        threads: of torch, for the whole process; 0 leaves them as they are.
    Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
    """
    started = time.perf_counter()
    if threads > 0:
        torch.set_num_threads(threads)
    folder = find_model(spec)
    on = _device(device)
    model = _load_model(folder, getattr(torch, spec.dtype))
    model.to(on)  # type: ignore[arg-type]
    tokenizer = TextTokenizer(folder.transformer, model.config.model_type)
    settings = sentence_settings(folder)
    capture = find_capture(model, model.config, spec.layers)
    family = FAMILIES.get(model.config.model_type) or (
        _UNKNOWN_CAUSAL if _is_causal(model) else _UNKNOWN_BIDIRECTIONAL
    )
    card = EncoderCard(
        spec=spec,
        family=model.config.model_type,
        weights_hash=folder.weights_hash(),
        heads=capture.heads(),
        head_dim=capture.head_dim,
        standard_dim=int(model.config.hidden_size),
        max_tokens=_max_tokens(spec, model.config, family, tokenizer, settings),
        pooling=_resolved(spec.pooling, family.pooling),
        standard_pooling=_standard_pooling(spec, family, settings),
    )
    log.info(
        "encoder_loaded model=%s family=%s layers=%s heads=%d head_dim=%d max_tokens=%d "
        "pooling=%s standard=%s device=%s dtype=%s seconds=%.1f",
        *(spec.model, card.family, capture.layers, len(card.heads), card.head_dim),
        *(card.max_tokens, card.pooling, card.standard_pooling, on, spec.dtype),
        time.perf_counter() - started,
    )
    return TransformerEncoder(card, model, tokenizer, capture, on, batch_tokens, padding_side)


@dataclass(slots=True)
class _Batch:
    """What the hooks need to know of the running forward pass, and what they leave."""

    mask: Tensor  # (B, T), True where a token is
    first: Tensor  # (B,), the first token's position
    last: Tensor  # (B,)
    heads: dict[int, Tensor]  # by place among the layers: (B, H of the layer, D)

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        """(B, T, X) to (B, X) float32."""
        if pooling == "mean":
            weights = self.mask.unsqueeze(-1).to(torch.float32)
            return (states.float() * weights).sum(1) / weights.sum(1)
        at = self.first if pooling == "cls" else self.last
        return states[torch.arange(len(states), device=states.device), at].float()


class TransformerEncoder:
    """An `Encoder` over a transformers model. Safe to share between threads: one pass at a time."""

    def __init__(
        self,
        card: EncoderCard,
        model: transformers.PreTrainedModel,
        tokenizer: TextTokenizer,
        capture: Capture,
        device: torch.device,
        batch_tokens: int,
        padding_side: PaddingSide = "right",
    ) -> None:
        self._card = card
        self._model = model
        self._tokenizer = tokenizer
        self._capture = capture
        self._device = device
        self._batch_tokens = max(1, batch_tokens)
        self._padding_side = padding_side
        self._lock = threading.Lock()
        self._batch: _Batch | None = None
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        family = FAMILIES.get(card.family)
        self._first_position = (
            int(model.config.pad_token_id) + 1 if family and family.positions_after_pad else 0
        )
        if padding_side == "left" and not self._takes_positions:
            raise ConfigError(
                f"left padding with {card.family}, which takes no position_ids",
                "right padding: its positions would be shifted",
            )
        for place, projection in enumerate(capture.projections):
            projection.register_forward_pre_hook(self._hook(place))

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._card

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""
        return self._tokenizer

    @property
    def model(self) -> transformers.PreTrainedModel:
        """The network."""
        return self._model

    @property
    def captured(self) -> tuple[str, ...]:
        """The projections whose input is read, by name, one a layer."""
        return self._capture.names

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Head and standard embeddings, in the order of the texts, prefix of the role added.

        Returns: heads (N, H, D) float32, standard (N, E) float32 of unit length.
        Raises: BadVectors if the model gave NaN, inf or a zero vector.
        """
        spec = self._card.spec
        prefix = spec.query_prefix if role == "query" else spec.document_prefix
        ids = self._tokenizer.ids([prefix + text for text in texts], self._card.max_tokens)
        lengths = [len(row) for row in ids]
        heads = np.empty((len(ids), len(self._card.heads), self._card.head_dim), np.float32)
        standard = np.empty((len(ids), self._card.standard_dim), np.float32)
        with self._lock, torch.inference_mode():
            for indices in padded_batches(lengths, self._batch_tokens):
                heads[indices], standard[indices] = self._forward([ids[i] for i in indices])
        return Embeddings(_checked_heads(heads), _unit(standard), np.array(lengths, np.int64))

    def _forward(self, rows: list[list[int]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ids, mask = self._padded(rows)
        left = self._padding_side == "left"
        count = mask.sum(1)
        start = mask.shape[1] - count if left else torch.zeros_like(count)
        self._batch = _Batch(mask, start, start + count - 1, {})
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long()}
        if self._takes_positions:
            places = torch.arange(ids.shape[1], device=self._device) - start[:, None]
            filled = places + self._first_position
            inputs["position_ids"] = torch.where(mask, filled, max(self._first_position - 1, 0))
        states = self._model(**inputs).last_hidden_state
        batch, self._batch = self._batch, None
        heads = torch.cat([batch.heads[place] for place in sorted(batch.heads)], dim=1)
        standard = batch.pooled(states, self._card.standard_pooling)
        return heads.cpu().numpy(), standard.cpu().numpy()

    def _padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._tokenizer.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for row, tokens in enumerate(rows):
            at = width - len(tokens) if self._padding_side == "left" else 0
            ids[row, at : at + len(tokens)] = torch.tensor(tokens)
            mask[row, at : at + len(tokens)] = True
        return ids.to(self._device), mask.to(self._device)

    def _hook(self, place: int) -> Any:
        def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            if self._batch is not None:
                pooled = self._batch.pooled(args[0], self._card.pooling)
                self._batch.heads[place] = pooled.view(len(pooled), -1, self._card.head_dim)

        return keep


def _load_model(folder: ModelFolder, dtype: torch.dtype) -> transformers.PreTrainedModel:
    config = folder.config()
    model_type = config.get("model_type", "")
    if model_type not in transformers.CONFIG_MAPPING:
        own = " (it brings its own code, which is never run)" if "auto_map" in config else ""
        raise UnsupportedArchitecture(
            f"model_type {model_type!r} in {folder.transformer / 'config.json'}{own}",
            f"a model that transformers {transformers.__version__} knows by itself",
            "use another model, or a newer transformers if it has learned this one",
        )
    loader: Any = transformers.AutoModel
    if model_type == "dpr":
        loader = getattr(transformers, (config.get("architectures") or ["DPRQuestionEncoder"])[0])
    elif model_type in ENCODER_CLASSES:
        loader = getattr(transformers, ENCODER_CLASSES[model_type])
    try:
        with _no_progress_bar():
            model, report = loader.from_pretrained(
                str(folder.transformer),
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ModelNotFound(
            f"{folder.transformer} cannot be loaded: {str(error).strip().splitlines()[0]}",
            "whole weights and the config.json that belongs to them",
            "fetch or save the model again",
        ) from error
    missing = [key for key in report["missing_keys"] if "pooler" not in key]
    if missing:
        raise UnsupportedArchitecture(
            f"{len(missing)} weights of {type(model).__name__} are not in {folder.transformer}, "
            f"such as {missing[0]}",
            "all of them: the rest would be random",
            "check that config.json belongs to these weights",
        )
    if model_type == "dpr":
        # Two wrappers around a BERT, which drop its hidden states.
        model = model.base_model.bert_model
        model.config.model_type = "dpr"
    elif model.config.is_encoder_decoder and model_type not in ENCODER_CLASSES:
        model = model.get_encoder()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model.eval()  # type: ignore[no-any-return]


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {name!r}: {str(error).splitlines()[0]}",
            "auto, cpu, cuda, cuda:N or mps, present on this machine",
            "check `encoder.device` and nvidia-smi",
        ) from error
    return device


def _is_causal(model: nn.Module) -> bool:
    return any(getattr(module, "is_causal", False) for module in model.modules())


def _resolved(asked: Pooling, default: ResolvedPooling) -> ResolvedPooling:
    return default if asked == "auto" else asked


def _standard_pooling(
    spec: EncoderSpec, family: Family, settings: SentenceSettings
) -> ResolvedPooling:
    if spec.standard_pooling == "auto" and settings.unknown_pooling:
        raise UnsupportedArchitecture(
            f"{spec.model} pools its sentences by {settings.unknown_pooling}",
            "cls, mean or last token",
            "set `encoder.standard_pooling` to one of these: it will differ from the model's own",
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
    if positions > 0 and family.positions_after_pad:
        positions -= int(config.pad_token_id) + 1
    if spec.max_tokens > 0:
        if 0 < positions < spec.max_tokens:
            raise ConfigError(
                f"encoder.max_tokens = {spec.max_tokens}",
                f"at most {positions}: the model has no more positions",
                "set it to 0 for the model's own limit",
            )
        return spec.max_tokens
    limits = [settings.max_tokens or tokenizer.model_limit, positions]
    return min((limit for limit in limits if limit > 0), default=512)


def _checked_heads(heads: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(heads, axis=2)
    bad = ~np.isfinite(norms) | (norms == 0.0)
    if bad.any():
        raise _bad_vectors(int(bad.any(axis=1).sum()), len(heads), "head")
    return heads


def _unit(standard: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(standard, axis=1, keepdims=True)
    bad = ~np.isfinite(norms) | (norms == 0.0)
    if bad.any():
        raise _bad_vectors(int(bad.sum()), len(standard), "standard")
    unit: NDArray[np.float32] = standard / norms
    return unit


def _bad_vectors(count: int, total: int, kind: str) -> BadVectors:
    return BadVectors(
        f"{count} of {total} texts have a {kind} vector that is zero, NaN or infinite",
        "finite vectors with a direction",
        "check the weights and encoder.dtype (float16 can overflow: try bfloat16 or float32)",
    )
