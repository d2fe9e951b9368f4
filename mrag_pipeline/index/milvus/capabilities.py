"""What Milvus Lite and each version of the server can do; read once, when an index is opened.

Versions are those whose documentation first has the thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.index.milvus.schema import MAX_VARCHAR_BYTES
from mrag_pipeline.ports import IndexCapabilities
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType

_FILES = (2, 3)  # 2.2 imports no Parquet
_HALVES = (2, 4)
_FULL_TEXT = _DEFAULTS = (2, 5)
_LITE_FULL_TEXT = (3, 2)

# Lite takes any name without a word, and one that it does not know (DISKANN) makes the
# collection unreadable when the database is opened again. A server refuses, after all rows.
_LITE_TYPES = ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX")
_SERVER_TYPES = {
    **dict.fromkeys(("FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "IVF_PQ"), (0, 0)),
    **dict.fromkeys(("DISKANN", "AUTOINDEX"), (0, 0)),
    "SCANN": (2, 3),
    **dict.fromkeys(("HNSW_SQ", "HNSW_PQ", "HNSW_PRQ"), (2, 5)),
    "IVF_RABITQ": (2, 6),
}


@dataclass(frozen=True, slots=True)
class MilvusRelease:
    """Which Milvus is at the other end."""

    is_lite: bool
    version: tuple[int, int]  # the first two numbers; (0, 0) if it does not say
    version_text: str = ""  # the version as the server reports it

    @classmethod
    def of(cls, version_text: str) -> Self:
        """The release with this version text, such as "v2.3.5" or "milvus_lite-3.2.2"."""
        numbers = re.match(r"\D*(\d+)\.(\d+)", version_text)
        version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        return cls(version_text.startswith("milvus_lite"), version, version_text)

    def __str__(self) -> str:
        if self.is_lite:
            return f"Milvus Lite {self.version_text.removeprefix('milvus_lite-')}"
        return f"Milvus {self.version_text.removeprefix('v')}"

    @property
    def imports_files(self) -> bool:
        """Whether it fetches Parquet files by itself."""
        return not self.is_lite and self.version >= _FILES

    @property
    def has_halves(self) -> bool:
        """Whether its vectors may have numbers of 16 bits."""
        return not self.is_lite and self.version >= _HALVES

    @property
    def has_defaults(self) -> bool:
        """Whether a field may have a value for rows that lack it."""
        return self.is_lite or self.version >= _DEFAULTS

    @property
    def has_full_text(self) -> bool:
        """Whether it has BM25 functions and searches by words."""
        return self.version >= (_LITE_FULL_TEXT if self.is_lite else _FULL_TEXT)

    def capabilities(self, spec: MilvusSpec, is_shared: bool) -> IndexCapabilities:
        """What an index opened on it can do. Lite is Python and takes one call at a time.

        Args:
            is_shared: whether several processes may open it: not a Lite database's folder.
        """
        return IndexCapabilities(
            str(self),
            is_shared=is_shared,
            loads_at_once=1 if self.is_lite else spec.load_threads,
            searches_at_once=1 if self.is_lite else spec.search_threads,
            min_dim=2,
            max_dim=32_768,
            max_name_chars=255,
            max_string_bytes=MAX_VARCHAR_BYTES,
            max_hits=16_384,
            has_bulk_import=self.imports_files,
            searches_exactly=spec.index_type.upper() == "FLAT",
            vector_index={
                "index_type": spec.index_type,
                "index_params": dict(spec.index_params),
                "search_params": dict(spec.search_params),
            },
            has_full_text=self.has_full_text,
            has_strong_reads=spec.consistency == "Strong",
        )

    def index_types(self) -> tuple[str, ...]:
        """The index types that are safe on it."""
        if self.is_lite:
            return _LITE_TYPES
        return tuple(name for name, since in _SERVER_TYPES.items() if self.version >= since)

    def check_index_type(self, name: str) -> str:
        """The index type, in capitals.

        Raises: ConfigError if the backend cannot hold it safely.
        """
        if name.upper() not in self.index_types():
            since = _SERVER_TYPES.get(name.upper(), (0, 0))
            newer = f", or a server from {since[0]}.{since[1]} on" if since > self.version else ""
            raise ConfigError(
                f"milvus.index_type {name!r}",
                f"on {self} one of {', '.join(self.index_types())}{newer}",
                "change milvus.index_type in the config file",
            )
        return name.upper()

    def check_vector_dtype(self, dtype: VectorType) -> None:
        """Refuses vectors that the backend cannot hold.

        Raises: ConfigError.
        """
        if dtype != "float32" and not self.has_halves:
            raise ConfigError(
                f"milvus.vector_dtype {dtype!r}",
                f"float32 on {self}; vectors of 16 bits need a Milvus server from 2.4 on",
                "set milvus.vector_dtype = 'float32'; staging.vector_dtype may stay as it is",
            )
