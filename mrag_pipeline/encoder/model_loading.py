"""Loads a transformers model from a folder, completely or not at all; runs none of its code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from mrag_pipeline.encoder.families import ENCODER_CLASSES
from mrag_pipeline.encoder.model_folder import ModelFolder
from mrag_pipeline.errors import ModelNotFound, UnsupportedArchitecture

_DEFAULT_DPR = "DPRQuestionEncoder"  # if the config does not say which of DPR's encoders


def load_model(folder: ModelFolder, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """The folder's encoder without its pooler, in evaluation mode.

    Raises: UnsupportedArchitecture (a type that transformers does not know, or weights of another
    model), ModelNotFound (files that cannot be read).
    """
    model_type = _known_type(folder)
    loader: Any = transformers.AutoModel
    if model_type == "dpr":
        loader = getattr(transformers, (folder.config().get("architectures") or [_DEFAULT_DPR])[0])
    elif model_type in ENCODER_CLASSES:
        loader = getattr(transformers, ENCODER_CLASSES[model_type])
    model, missing_keys = _pretrained(loader, folder, dtype)
    missing = [key for key in missing_keys if "pooler" not in key]
    if missing:
        raise UnsupportedArchitecture(
            *_missing_weights(model, folder, missing),
            "check that config.json belongs to these weights",
        )
    if model_type == "dpr":
        # Two wrappers around a BERT, which discard its hidden states.
        model = model.base_model.bert_model
        model.config.model_type = "dpr"
    elif model.config.is_encoder_decoder and model_type not in ENCODER_CLASSES:
        model = model.get_encoder()
    elif hasattr(model, "language_model") and hasattr(model.config, "text_config"):
        model = model.language_model  # of a model that also reads images
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        # SDPA cannot cap: newer transformers refuse it, older ones silently leave the capping out.
        model.set_attn_implementation("eager")
    return model.eval()  # type: ignore[no-any-return]


def load_classifier(folder: ModelFolder, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """The folder's model for sequence classification, in evaluation mode.

    Raises: UnsupportedArchitecture (a type that transformers cannot classify with, or weights of
    another model: an encoder has no classification head), ModelNotFound.
    """
    model_type = _known_type(folder)
    known = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if transformers.CONFIG_MAPPING[model_type] not in known:
        raise UnsupportedArchitecture(
            f"transformers has no sequence classification for model_type {model_type!r}",
            "a model that scores a pair of texts (...ForSequenceClassification)",
            "use another model",
        )
    loader = transformers.AutoModelForSequenceClassification
    model, missing_keys = _pretrained(loader, folder, dtype)
    if missing_keys:
        raise UnsupportedArchitecture(
            *_missing_weights(model, folder, missing_keys),
            "use a cross-encoder: an encoder's folder has no classification head",
        )
    return model.eval()  # type: ignore[no-any-return]


def _known_type(folder: ModelFolder) -> str:
    """The model type in config.json.

    Raises: UnsupportedArchitecture for one that transformers does not know.
    """
    config = folder.config()
    model_type = str(config.get("model_type", ""))
    if model_type not in transformers.CONFIG_MAPPING:
        own = " (the model brings its own code, which is never run)" if "auto_map" in config else ""
        raise UnsupportedArchitecture(
            f"model_type {model_type!r} in {folder.transformer / 'config.json'}{own}",
            f"a model type that transformers {transformers.__version__} implements",
            "use another model, or a newer transformers that implements this one",
        )
    return model_type


def _pretrained(loader: Any, folder: ModelFolder, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """The loader's model with the folder's weights, and the names of those that are missing.

    Raises: ModelNotFound for files that cannot be read.
    """
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
            "complete weights and the config.json that belongs to them",
            "download or save the model again",
        ) from error
    return model, sorted(report["missing_keys"])


def _missing_weights(model: Any, folder: ModelFolder, missing: Sequence[str]) -> tuple[str, str]:
    """What was found and expected, for an error."""
    return (
        f"{len(missing)} weights of {type(model).__name__} are not in {folder.transformer}, "
        f"such as {missing[0]}",
        "all of them: missing weights would be random",
    )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()  # type: ignore[no-untyped-call]
