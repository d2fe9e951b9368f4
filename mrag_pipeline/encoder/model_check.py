"""Checks a model on sample texts before resources are spent on it.

Shape legend: N texts, T tokens, H heads, D head dimension, E model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mrag_pipeline.encoder.transformer import TransformerEncoder, load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec

SAMPLES = (
    "A cat.",
    "Multi-head attention lets each head attend to something else in the same text.",
    "日本語のテキスト。二番目の文です。",
    "def add(a: int, b: int) -> int:\n    return a + b",
    "The quick brown fox jumps over the lazy dog. " * 40,
    "x",
)
# Of the largest number: the difference that another order of summing may cause.
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-2, "int8": 1e-1}


@dataclass(frozen=True, slots=True)
class Proof:
    """One claim about the model that was checked."""

    claim: str
    difference: float  # relative to the largest number
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the difference is small enough to be rounding."""
        return self.difference <= self.tolerance


@dataclass(frozen=True, slots=True)
class ModelReport:
    """Facts about a model, and the claims that were checked."""

    facts: tuple[tuple[str, str], ...]  # name and value, to be shown
    proofs: tuple[Proof, ...]

    @property
    def holds(self) -> bool:
        """Whether every proof holds."""
        return all(proof.holds for proof in self.proofs)


def check_model(
    spec: EncoderSpec, *, device: str = "auto", say: Callable[[str], object] = lambda _: None
) -> ModelReport:
    """Loads the model, describes it, and checks it on sample texts.

    Its vectors are compared with those of one text at a time through the padded path, and the sum
    of all heads through their columns of the projection with the projection's own output.

    Args:
        say: called with a line at the start of each step; large models take minutes.
    Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError, BadVectors.
    """
    say(f"loading {spec.model}, trying its paths on a few texts")
    encoder = load_encoder(spec, device=device)
    say("loading it again, to run one text at a time without the fast paths")
    plain = load_encoder(spec, device=device, packed=False, batch_tokens=1)
    say(f"encoding {len(SAMPLES)} sample texts both ways")
    fast = encoder.encode(SAMPLES, "document")
    reference = plain.encode(SAMPLES, "document")
    tolerance = TOLERANCES[spec.dtype]
    claim = f"{encoder.path} equals one text at a time"
    proofs = [
        Proof(f"heads: {claim}", _difference(fast.heads, reference.heads), tolerance),
        Proof(f"standard: {claim}", _difference(fast.standard, reference.standard), tolerance),
    ]
    for name, projection in zip(plain.capture.names, plain.capture.projections, strict=True):
        say(f"adding up the heads before {name}")
        proofs.append(Proof(f"heads add up to {name}", _sum_of_heads(plain, projection), tolerance))
    return ModelReport(_facts(encoder), tuple(proofs))


def _facts(encoder: TransformerEncoder) -> tuple[tuple[str, str], ...]:
    card, model = encoder.card, encoder.model
    layers = ", ".join(map(str, encoder.capture.layers))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        ("family", f"{card.family} ({type(model).__name__}, {parameters / 1e6:,.1f}M parameters)"),
        ("layers", f"{model.config.num_hidden_layers}, read: {layers} (from 0)"),
        ("heads", f"{len(card.heads)} of {card.head_dim} numbers"),
        ("captured", ", ".join(encoder.capture.names)),
        ("heads pooled at", card.pooling),
        ("standard embedding", f"{card.standard_dim} numbers, pooled at {card.standard_pooling}"),
        ("longest text", f"{card.max_tokens} tokens"),
        ("query prefix", repr(card.spec.query_prefix)),
        ("document prefix", repr(card.spec.document_prefix)),
        ("path", encoder.path),
        ("device", f"{model.device}, {card.spec.dtype}"),
        ("weights", f"sha256 {card.weights_hash}"),
    )


def _sum_of_heads(encoder: TransformerEncoder, projection: nn.Module) -> float:
    """The difference between the sum over heads of W_h x_h + b and the projection's output."""
    ids = torch.tensor(encoder.tokenizer.ids(SAMPLES[:1], encoder.card.max_tokens))
    with torch.inference_mode(), _outputs(projection) as seen:
        encoder.model(input_ids=ids.to(encoder.model.device))
    states, projected = seen[-1]
    weight: Any = projection.state_dict()["weight"]  # (E, H*D); transposed in GPT-2's Conv1D
    if not isinstance(projection, nn.Linear):
        weight = weight.T
    bias = projection.state_dict().get("bias")
    num_heads = encoder.capture.num_heads
    by_head = states.reshape(*states.shape[:-1], num_heads, -1)
    columns = weight.reshape(len(weight), num_heads, -1)  # (E, H, D)
    summed = torch.einsum("...hd,ehd->...e", by_head.float(), columns.float())
    if bias is not None:
        summed = summed + bias.float()
    return _difference(summed.cpu().numpy(), projected.float().cpu().numpy())


@contextmanager
def _outputs(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    seen: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(
        lambda _, args, output: seen.append((args[0].detach(), output.detach()))
    )
    try:
        yield seen
    finally:
        handle.remove()


def _difference(actual: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())
