"""Creates tiny random models of every family and saves them as real ones are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, PreTrainedTokenizerFast

WORDS = [f"w{number}" for number in range(60)]
MAX_POSITIONS = 48

_BASE: dict[str, Any] = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_POSITIONS,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_BERT = _BASE | {"type_vocab_size": 2}
_ROBERTA = _BERT | {"pad_token_id": 1, "max_position_embeddings": MAX_POSITIONS + 2}
_GQA = _BASE | {"num_key_value_heads": 2}
_WIDE_HEADS = _GQA | {"head_dim": 12}  # heads x head_dim is not the hidden size
_SLIDING = {"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"] * 2}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "dpr": _BERT | {"projection_dim": 0},
    "electra": _BERT | {"embedding_size": 16},
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "mpnet": _ROBERTA,
    "distilbert": {
        **_BASE,
        "dim": 32,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 48,
    },
    "modernbert": _BASE
    | {"cls_token_id": 2, "sep_token_id": 3, "local_attention": 8, "num_hidden_layers": 4},
    "mistral": _GQA | {"sliding_window": 8},
    "llama": _GQA,
    "qwen2": _GQA | {"vocab_size": 400},
    "qwen3": _WIDE_HEADS,
    "gemma": _WIDE_HEADS,
    "gemma2": _WIDE_HEADS | _SLIDING | {"num_hidden_layers": 4, "query_pre_attn_scalar": 12},
    "gemma3_text": _WIDE_HEADS | _SLIDING | {"num_hidden_layers": 4, "query_pre_attn_scalar": 12},
    "phi3": _GQA,
    "gpt2": _BASE
    | {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": MAX_POSITIONS, "n_inner": 48},
    "opt": _BASE | {"ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": 1},
    "t5": {
        **_BASE,
        "d_model": 32,
        "d_kv": 12,
        "d_ff": 48,
        "num_layers": 3,
        "num_decoder_layers": 3,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16,
        "decoder_start_token_id": 0,
    },
    "nomic_bert": _BERT,
    "gte": _BERT,
}
# The oldest transformers that we run with does not know all of them.
CONFIGS = {name: values for name, values in CONFIGS.items() if name in CONFIG_MAPPING}
for _name in ("distilbert", "gpt2", "t5"):
    for _key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
        CONFIGS[_name].pop(_key, None)

CAUSAL = (
    "mistral",
    "llama",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "gpt2",
    "opt",
)


def save_tokenizer(folder: Path, *, special: bool = True, pad_id: int = 0) -> None:
    """A word-level tokenizer; if `special`, [CLS] text [SEP] or [CLS] text [SEP] text [SEP]."""
    reserved = {0: "[ZERO]", 1: "[UNK]", 2: "[CLS]", 3: "[SEP]", 4: "."}
    reserved[pad_id] = "[PAD]"
    if pad_id == 1:
        reserved[0] = "[UNK]"
    vocab = {word: number for number, word in reserved.items()}
    vocab |= {word: len(reserved) + index for index, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        model_max_length=MAX_POSITIONS,
    ).save_pretrained(str(folder))


def save_byte_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer without special tokens around a text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=390, initial_alphabet=alphabet, special_tokens=["[PAD]"], show_progress=False
    )
    backend.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        eos_token="[PAD]",
        model_max_length=MAX_POSITIONS,
    ).save_pretrained(str(folder))


def save_cross_encoder(
    folder: Path, family: str = "bert", num_labels: int = 1, **changes: Any
) -> Path:
    """A random cross-encoder of the family, as `save_model` saves models."""
    classes: Any = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    model_class = classes[CONFIG_MAPPING[family]].__name__
    return save_model(family, folder, model_class, num_labels=num_labels, **changes)


def save_model(
    family: str, folder: Path, model_class: str = "", seed: int = 7, **changes: Any
) -> Path:
    """A random model of the family in `folder`, with its tokenizer; weights as safetensors."""
    settings = CONFIGS.get(family, _GQA) | changes
    config = transformers.AutoConfig.for_model(family, **settings)
    torch.manual_seed(seed)
    if model_class:
        model = getattr(transformers, model_class)(config)
    else:
        model = transformers.AutoModel.from_config(config)
    # Fresh weights are so small that all heads would look alike.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(str(folder))
    if family == "qwen2":  # transformers makes it byte-level whatever its file says
        save_byte_tokenizer(folder)
        return folder
    save_tokenizer(folder, special=family not in CAUSAL, pad_id=settings.get("pad_token_id", 0))
    return folder
