"""Turns texts into token ids as in the model's training, truncated to its longest text."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from mrag_pipeline.encoder.model_folder import VOCABULARY_FILES
from mrag_pipeline.errors import ModelNotFound, UnsupportedArchitecture

_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """The text with each lone surrogate, which no encoding can hold, replaced by U+FFFD.

    The length stays the same, so that spans stay valid.
    """
    return _SURROGATES.sub("�", text)


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """A fast tokenizer and the settings of its files that are used."""

    backend: Tokenizer
    truncation_side: str  # left or right
    model_limit: int  # the longest text that the files allow, in tokens; 0 if they state none
    pad_id: int
    fallback_id: int  # of an empty text


class TextTokenizer:
    """A fast tokenizer; its file's settings for padding and truncation are not used."""

    def __init__(
        self,
        folder: Path,
        family: str = "",
        *,
        lower_case: bool = False,
        loaded: LoadedTokenizer | None = None,
    ) -> None:
        """Loads the folder's tokenizer, as transformers does, unless it is loaded already."""
        self._loaded = loaded or by_transformers(folder, family)
        self._backend = self._loaded.backend
        if lower_case:
            original = self._backend.normalizer
            sequence = [normalizers.Lowercase(), *([original] if original else [])]
            self._backend.normalizer = normalizers.Sequence(sequence)
        self._backend.no_padding()
        self._backend.no_truncation()
        self._plain = self._backend.to_str()
        self._num_special = self._backend.num_special_tokens_to_add(False)
        self._lock = threading.Lock()

    @property
    def model_limit(self) -> int:
        """The longest text that the tokenizer's file allows, in tokens; 0 if it states none."""
        return self._loaded.model_limit

    @property
    def num_special(self) -> int:
        """The number of special tokens added to each text."""
        return int(self._num_special)

    @property
    def pad_id(self) -> int:
        """An id to pad batches with; padding is masked, so any id works."""
        return self._loaded.pad_id

    def ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Each text's ids with special tokens, at most `max_tokens` and at least one.

        Releases the GIL and uses all cores, unless TOKENIZERS_PARALLELISM forbids it.
        """
        cleaned = [clean(text) for text in texts]
        # transformers' own call does the same with this backend but takes twice as long.
        with self._lock:
            side = self._loaded.truncation_side
            self._backend.enable_truncation(max_tokens, direction=side)
            encoded = self._backend.encode_batch_fast(cleaned)
        # Without special tokens, an empty text has no token.
        return [encoding.ids or [self._loaded.fallback_id] for encoding in encoded]

    def plain_backend(self) -> Tokenizer:
        """A copy of the tokenizer that neither truncates nor pads."""
        return Tokenizer.from_str(self._plain)


def by_transformers(folder: Path, family: str = "") -> LoadedTokenizer:
    """The folder's tokenizer as transformers loads it.

    Raises: ModelNotFound, UnsupportedArchitecture for a slow one.
    """
    tokenizer = load_tokenizer(folder, family)
    ends = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return LoadedTokenizer(
        backend=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        truncation_side=str(tokenizer.truncation_side),
        model_limit=stated_limit(tokenizer.model_max_length),
        pad_id=int(tokenizer.pad_token_id or 0),
        fallback_id=next((int(token_id) for token_id in ends if token_id is not None), 0),
    )


def stated_limit(model_max_length: float) -> int:
    """The longest text in tokens; 0 for the huge number that stands for none."""
    return int(model_max_length) if model_max_length < 1_000_000 else 0


def load_tokenizer(folder: Path, family: str = "") -> Any:
    """The fast tokenizer in a folder, as transformers loads it.

    Raises: ModelNotFound, UnsupportedArchitecture for a slow one.
    """
    from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

    if not any((folder / name).is_file() for name in VOCABULARY_FILES):
        # transformers would create one without any words.
        raise ModelNotFound(
            f"no tokenizer in {folder}",
            f"one of {', '.join(VOCABULARY_FILES)}",
            "save it there with AutoTokenizer...save_pretrained(folder)",
        )
    try:
        # DPR's own tokenizer classes lowercase whatever do_lower_case says; BERT's, from which
        # they are derived, follows it.
        is_bert = family == "dpr" and not _is_generic(folder)
        loader: Any = BertTokenizer if is_bert else AutoTokenizer
        tokenizer = loader.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, RecursionError) as error:
        raise ModelNotFound(
            f"the tokenizer in {folder} cannot be loaded: {str(error).splitlines()[0]}",
            "tokenizer.json and tokenizer_config.json",
            "save it there with AutoTokenizer...save_pretrained(folder)",
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UnsupportedArchitecture(
            f"{folder} has a slow tokenizer ({type(tokenizer).__name__})",
            "a fast one (tokenizer.json), by whose tokens chunks are cut",
            "convert it: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
        )
    return tokenizer


def _is_generic(folder: Path) -> bool:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} does not hold a JSON object")
    return config.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")
