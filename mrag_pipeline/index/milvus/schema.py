"""The fields of the collections, and the parameters of their indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymilvus import CollectionSchema, DataType, MilvusClient

from mrag_pipeline.domain.proofs import PROOF, UNPROVEN
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import CollectionSpec
from mrag_pipeline.settings.milvus import Params
from mrag_pipeline.settings.vectors import VectorType

MAX_VARCHAR_BYTES = 65_535
METRIC = "COSINE"

VECTOR_TYPES: dict[VectorType, DataType] = {
    "float32": DataType.FLOAT_VECTOR,
    "float16": DataType.FLOAT16_VECTOR,
    "bfloat16": DataType.BFLOAT16_VECTOR,
}

_BUILD = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "HNSW_SQ": {"M": 16, "efConstruction": 200},
    "HNSW_PQ": {"M": 16, "efConstruction": 200},
    "HNSW_PRQ": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 1024},
    "IVF_SQ8": {"nlist": 1024},
    "IVF_RABITQ": {"nlist": 1024},
    "SCANN": {"nlist": 1024},
}

# The keys that a config may set for each index type, for building and for searching.
_GRAPH, _LISTS = {"M", "efConstruction"}, {"nlist"}
_BUILD_KEYS = {
    "HNSW": _GRAPH,
    "HNSW_SQ": _GRAPH | {"sq_type", "refine", "refine_type"},
    "HNSW_PQ": _GRAPH | {"m", "nbits", "refine", "refine_type"},
    "HNSW_PRQ": _GRAPH | {"m", "nrq", "nbits", "refine", "refine_type"},
    "IVF_FLAT": _LISTS,
    "IVF_SQ8": _LISTS,
    "IVF_PQ": _LISTS | {"m", "nbits"},
    "IVF_RABITQ": _LISTS | {"refine", "refine_type"},
    "SCANN": _LISTS | {"with_raw_data"},
}
_SEARCH_KEYS = {
    "HNSW": {"ef"},
    "HNSW_SQ": {"ef", "refine_k"},
    "HNSW_PQ": {"ef", "refine_k"},
    "HNSW_PRQ": {"ef", "refine_k"},
    "IVF_FLAT": {"nprobe"},
    "IVF_SQ8": {"nprobe"},
    "IVF_PQ": {"nprobe"},
    "IVF_RABITQ": {"nprobe", "refine_k", "rbq_bits_query"},
    "SCANN": {"nprobe", "reorder_k"},
    "DISKANN": {"search_list"},
}
_AT_LEAST_LIMIT = ("ef", "search_list", "reorder_k")  # raised to the number of hits wanted

FILTER_FIELDS = ("chunk_id", "document_id", "title", "metadata")
CHUNK_FIELDS = (
    *("chunk_id", "document_id", "ordinal", "start", "end"),
    *("title", "text", "metadata", "fingerprint"),
)


def check_params(index_type: str, build: Params, search: Params) -> None:
    """Refuses parameters that the index type does not have: Milvus ignores them silently.

    Raises: ConfigError.
    """
    for key, given, known in (
        ("index_params", build, _BUILD_KEYS),
        ("search_params", search, _SEARCH_KEYS),
    ):
        allowed = known.get(index_type, set())
        unknown = sorted(given.keys() - allowed)
        if unknown:
            raise ConfigError(
                f"milvus.{key} has {', '.join(unknown)}",
                f"for {index_type} {', '.join(sorted(allowed)) or 'none'}",
                f"correct milvus.{key} or milvus.index_type in the config file",
            )


def build_params(index_type: str, given: Params) -> Params:
    """The index type's build parameters: the defaults, overridden by those given."""
    return {**_BUILD.get(index_type, {}), **given}


def search_params(index_type: str, limit: int, given: Params) -> dict[str, object]:
    """The parameters of a search for `limit` hits; exact search has none."""
    params: dict[str, int | float | str | bool] = {}
    if index_type.startswith("HNSW"):
        params["ef"] = max(64, 2 * limit)
    elif index_type.startswith("IVF") or index_type == "SCANN":
        params["nprobe"] = 32
    elif index_type == "DISKANN":
        params["search_list"] = max(100, 2 * limit)
    params.update(given)
    for key in _AT_LEAST_LIMIT:
        if key in params:
            params[key] = max(limit, int(params[key]))
    return {"metric_type": METRIC, "params": params}


def schema(
    collection: CollectionSpec, dtype: VectorType = "float32", has_defaults: bool = True
) -> CollectionSchema:
    """The collection's fields: id and vector, and for chunks also text, metadata and proof.

    Args:
        has_defaults: whether a row may lack the proof, as those that mrag 0.1 writes do.
    """
    fields = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    fields.add_field("chunk_id", DataType.INT64, is_primary=True)
    if collection.kind == "chunks":
        fields.add_field("document_id", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
        fields.add_field("ordinal", DataType.INT32)
        fields.add_field("start", DataType.INT64)
        fields.add_field("end", DataType.INT64)
        fields.add_field("title", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
        fields.add_field("text", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
        fields.add_field("metadata", DataType.JSON)
        fields.add_field("fingerprint", DataType.VARCHAR, max_length=64)
        default = {"default_value": UNPROVEN} if has_defaults else {}
        fields.add_field(PROOF, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, **default)
    fields.add_field("vector", VECTOR_TYPES[dtype], dim=collection.dim)
    return fields


def vector_type(description: Mapping[str, Any]) -> VectorType:
    """The type of a collection's vectors, from the answer of `describe_collection`."""
    [stored] = [field["type"] for field in description["fields"] if field["name"] == "vector"]
    [dtype] = [name for name, data_type in VECTOR_TYPES.items() if data_type == stored]
    return dtype


def has_field(description: Mapping[str, Any], name: str) -> bool:
    """Whether a collection has the field, from the answer of `describe_collection`."""
    return any(field["name"] == name for field in description["fields"])


def record_schema() -> CollectionSchema:
    """The fields of named texts; Milvus requires a vector field, so it holds a constant."""
    fields = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    fields.add_field("part", DataType.VARCHAR, max_length=256, is_primary=True)
    fields.add_field("payload", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
    fields.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    return fields


def quoted(text: str) -> str:
    """The text, with any characters, as a string literal of Milvus's filter language.

    Servers before 2.5 and Lite have no filter templates, so the filter must hold the text.
    """
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'
