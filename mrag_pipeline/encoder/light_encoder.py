"""An encoder for a few texts that is ready in a tenth of a second: BERT on numpy, without torch.

Only for models of which it is known from their files that `bert_arrays.py` and the tokenizer's own
file give what transformers gives; every other model, and every GPU, is `transformer.py`'s.

Shape legend: N texts, T tokens, H heads, D head dimension, E model width.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Head, Role
from mrag_pipeline.domain.packing import packed_batches
from mrag_pipeline.encoder.bert_arrays import Array, BertArrays, BertShape, weight_shapes
from mrag_pipeline.encoder.checked_vectors import checked_heads, unit_vectors
from mrag_pipeline.encoder.encoder_card import card_of, resolved_poolings
from mrag_pipeline.encoder.families import FAMILIES
from mrag_pipeline.encoder.model_folder import WEIGHTS, ModelFolder
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.sentence_folder import kind_of, sentence_settings
from mrag_pipeline.encoder.tokenizer import LoadedTokenizer, TextTokenizer, stated_limit
from mrag_pipeline.settings.encoder import EncoderSpec

_BATCH_TOKENS = 512
# The number of BLAS's threads is the process's: one pass at a time may change it.
_BLAS = threading.Lock()
# Devices of NVIDIA, of AMD, and of Windows seen from its Linux.
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_UNUSED = ("embeddings.position_ids", "pooler.")  # weights that no vector depends on
# What a config.json must say, or leave out.
_PLAIN: Mapping[str, Sequence[object]] = {
    "hidden_act": (None, "gelu"),
    "position_embedding_type": (None, "absolute"),
    **dict.fromkeys(("is_decoder", "add_cross_attention"), (None, False)),
    **dict.fromkeys(("auto_map", "quantization_config", "head_dim", "adapters"), (None,)),
}
# The fields of BertShape by their names in config.json.
_NUMBERS = {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "num_positions": "max_position_embeddings",
    "num_types": "type_vocab_size",
}
# The parts of tokenizer.json that BertTokenizer would make itself.
_BERT_PARTS = {
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "single": [("SpecialToken", "[CLS]"), ("Sequence", "A"), ("SpecialToken", "[SEP]")],
}


def is_light(spec: EncoderSpec, device: str = "auto") -> bool:
    """Whether `load_light_encoder` can be asked for the model that the spec describes.

    Raises: ModelNotFound, UnsafeWeights, UnsupportedArchitecture, ConfigError for what no encoder
        can load.
    """
    on_cpu = device == "cpu" or (device == "auto" and not any(map(os.path.exists, _GPUS)))
    if not on_cpu or os.name != "posix" or spec.dtype != "float32":
        return False
    folder = find_model(spec)
    shape = _shape(folder)
    # Layers after the pooling are torch's.
    kinds = {kind_of(module) for module in folder.modules()}
    if shape is None or not kinds <= {"Transformer", "Pooling", "Normalize"}:
        return False
    has_layers = bool(_layers(spec.layers, shape.num_layers))
    return has_layers and _has_tokenizer(folder) and _has_weights(folder, shape)


def load_light_encoder(spec: EncoderSpec) -> LightEncoder:
    """The encoder of a spec for which `is_light` is true.

    Raises: as `load_encoder`.
    """
    folder = find_model(spec)
    shape = _shape(folder)
    assert shape is not None
    layers, loaded = _layers(spec.layers, shape.num_layers), _tokenizer(folder)
    settings = sentence_settings(folder)
    family = FAMILIES["bert"]
    tokenizer = TextTokenizer(folder.transformer, lower_case=settings.lower_case, loaded=loaded)
    poolings = resolved_poolings(spec, family, settings)
    heads = _Heads(layers, shape.num_heads, shape.hidden_size // shape.num_heads)
    config = SimpleNamespace(
        model_type="bert",
        hidden_size=shape.hidden_size,
        max_position_embeddings=shape.num_positions,
        pad_token_id=loaded.pad_id,
    )
    card = card_of(spec, folder, config, family, heads, tokenizer, settings, 0, poolings)
    network = BertArrays(shape, _weights(folder, shape))
    return LightEncoder(card, network, layers, tokenizer)


class LightEncoder:
    """An `Encoder`. Threads may share it: a process runs one pass at a time, on all cores."""

    def __init__(
        self,
        card: EncoderCard,
        network: BertArrays,
        layers: Sequence[int],
        tokenizer: TextTokenizer,
    ) -> None:
        self._card = card
        self._network = network
        self._layers = layers
        self._tokenizer = tokenizer
        self._libraries = ThreadpoolController()
        self._threads = 0

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._card

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""
        return self._tokenizer

    def use_threads(self, threads: int) -> None:
        """So many threads for a pass; 0: one for each core that this process may use."""
        self._threads = threads

    def encode(self, texts: Sequence[str], role: Role, *, standard: bool = True) -> Embeddings:
        """Head and standard embeddings, in the order of the texts, with the role's prefix.

        Args:
            standard: False skips the standard embedding (E is 0).
        Returns: heads (N, H, D) float32, standard (N, E) float32 of unit length.
        Raises: BadVectors if the model returned NaN, inf or a zero vector.
        """
        card = self._card
        prefix = card.spec.query_prefix if role == "query" else card.spec.document_prefix
        rows = self._tokenizer.ids([prefix + text for text in texts], card.max_tokens)
        lengths = np.array([len(row) for row in rows], np.int64)
        heads = np.empty((len(rows), len(card.heads), card.head_dim), np.float32)
        vectors = np.empty((len(rows), card.standard_dim if standard else 0), np.float32)

        def run(batch: list[int]) -> None:
            of_batch = [rows[index] for index in batch]
            read, states = self._network.run(of_batch, self._layers, standard)
            ends = np.cumsum(lengths[batch])
            pooled = [_pooled(attended, ends, card.pooling) for attended in read]
            heads[batch] = np.concatenate(pooled, axis=1).reshape(len(batch), -1, card.head_dim)
            if states is not None:
                vectors[batch] = _pooled(states, ends, card.standard_pooling)

        batches = packed_batches(lengths.tolist(), _BATCH_TOKENS)
        # Small products are slower on several threads of BLAS than on one; batches are not.
        with _BLAS, self._libraries.limit(limits=1, user_api="blas"):
            threads = min(len(batches), self._threads or _num_cpus())
            if threads < 2:
                for batch in batches:
                    run(batch)
            else:
                with ThreadPoolExecutor(threads, "encode") as pool:
                    list(pool.map(run, batches))
        standards = unit_vectors(vectors) if standard else vectors
        return Embeddings(checked_heads(heads), standards, lengths)


def _num_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Heads:
    layers: tuple[int, ...]
    num_heads: int
    head_dim: int

    def heads(self) -> tuple[Head, ...]:
        return tuple(Head(layer, head) for layer in self.layers for head in range(self.num_heads))


def _pooled(states: Array, ends: NDArray[np.int64], pooling: str) -> Array:
    """(T, X) to (N, X)."""
    starts = np.concatenate([[0], ends[:-1]])
    if pooling == "mean":
        means: Array = np.add.reduceat(states, starts)
        means /= (ends - starts)[:, None]
        return means
    return states[starts if pooling == "cls" else ends - 1]


def _shape(folder: ModelFolder) -> BertShape | None:
    """The shape of a plain BERT; None for another model."""
    config = folder.config()
    if config.get("model_type") != "bert":
        return None
    if any(config.get(key) not in allowed for key, allowed in _PLAIN.items()):
        return None
    found = {field: config.get(name) for field, name in _NUMBERS.items()}
    numbers = {field: number for field, number in found.items() if isinstance(number, int)}
    if len(numbers) < len(_NUMBERS) or min(numbers.values()) < 1:
        return None
    shape = BertShape(**numbers, epsilon=float(config.get("layer_norm_eps", 1e-12)))
    return shape if shape.hidden_size % shape.num_heads == 0 else None


def _layers(requested: Sequence[int], num_layers: int) -> tuple[int, ...]:
    """The layers from 0, ascending; none if the model does not have them."""
    layers = sorted({layer + num_layers if layer < 0 else layer for layer in requested})
    exist = len(layers) == len(requested) and all(0 <= layer < num_layers for layer in layers)
    return tuple(layers) if exist else ()


def _has_weights(folder: ModelFolder, shape: BertShape) -> bool:
    """Whether the one file of weights holds a BERT in float32, and nothing else that is used."""
    if [path.name for path in folder.weight_files()] != [WEIGHTS]:
        return False
    shapes = weight_shapes(shape)
    try:
        with safe_open(folder.transformer / WEIGHTS, "numpy") as file:
            others = set(file.keys()) - set(shapes)
            parts = [file.get_slice(name) for name in shapes]
            return all(name.startswith(_UNUSED) for name in others) and all(
                (tuple(part.get_shape()), part.get_dtype()) == (wanted, "F32")
                for part, wanted in zip(parts, shapes.values(), strict=True)
            )
    except (SafetensorError, OSError):
        return False  # transformers says what is wrong


def _weights(folder: ModelFolder, shape: BertShape) -> dict[str, Array]:
    with safe_open(folder.transformer / WEIGHTS, "numpy") as file:
        return {name: file.get_tensor(name) for name in weight_shapes(shape)}


def _has_tokenizer(folder: ModelFolder) -> bool:
    """Whether transformers would make of the folder's files what tokenizer.json holds."""
    settings = folder.json("tokenizer_config.json")
    return (
        settings.get("tokenizer_class") in ("BertTokenizer", "BertTokenizerFast")
        and not (folder.transformer / "added_tokens.json").exists()
        and _is_berts(folder.json("tokenizer.json"), settings)
    )


def _tokenizer(folder: ModelFolder) -> LoadedTokenizer:
    settings = folder.json("tokenizer_config.json")
    backend = Tokenizer.from_file(str(folder.transformer / "tokenizer.json"))
    pad_id = backend.token_to_id(str(settings.get("pad_token", "[PAD]"))) or 0
    limit = stated_limit(float(settings.get("model_max_length") or 1e30))
    side = str(settings.get("truncation_side", "right"))
    return LoadedTokenizer(backend, side, limit, pad_id, pad_id)


def _is_berts(file: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether the file's parts are those that BertTokenizer makes of these settings."""
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": settings.get("tokenize_chinese_chars", True),
        "strip_accents": settings.get("strip_accents"),
        "lowercase": settings.get("do_lower_case", True),
    }
    model = file.get("model") or {}
    template = (file.get("post_processor") or {}).get("single") or []
    single = [(kind, part.get("id")) for step in template for kind, part in step.items()]
    return (
        file.get("normalizer") == normalizer
        and file.get("pre_tokenizer") == _BERT_PARTS["pre_tokenizer"]
        and single == _BERT_PARTS["single"]
        and (model.get("type"), model.get("unk_token")) == ("WordPiece", "[UNK]")
        and model.get("continuing_subword_prefix") == "##"
        and model.get("max_input_chars_per_word") == 100
    )
