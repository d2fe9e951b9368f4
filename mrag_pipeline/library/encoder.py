"""The head embeddings of texts, without an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config

if TYPE_CHECKING:
    from mrag_pipeline.domain.heads import Role
    from mrag_pipeline.ports import Encoder as EncoderPort


class Encoder:
    """A model that embeds texts once for each attention head."""

    def __init__(self, encoder: EncoderPort) -> None:
        self._encoder = encoder

    @classmethod
    def load(cls, model: str, **settings: Any) -> Encoder:
        """The model: a hub id, a folder, or `package:NAME`.

        Args:
            settings: others of `[encoder]`: revision, layers, dtype...
        Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError.
        """
        library_settings.settle()  # before one of them is imported
        return cls(wiring.encoder(Config.load(None, {"encoder": {"model": model, **settings}})))

    @property
    def names(self) -> tuple[str, ...]:
        """(H,) the heads' names, such as l05_h07."""
        return tuple(str(head) for head in self._encoder.card.heads)

    def heads(self, texts: Sequence[str], role: Role = "document") -> np.ndarray:
        """(N, H, D) float32: each text's embedding in each head.

        Args:
            role: document or query; models may put an instruction before either.
        Raises: BadVectors.
        """
        return self._encoder.encode(list(texts), role).heads

    def standard(self, texts: Sequence[str], role: Role = "document") -> np.ndarray:
        """(N, E) float32 of unit length: the model's ordinary embedding; same arguments."""
        return self._encoder.encode(list(texts), role).standard
