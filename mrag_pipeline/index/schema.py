"""What the collections look like, and which index types are safe where."""

from __future__ import annotations

from pymilvus import CollectionSchema, DataType, MilvusClient

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import CollectionSpec

MAX_VARCHAR_BYTES = 65_535
MAX_DIM = 32_768
METRIC = "COSINE"

# Lite takes any name without a word, and one that it does not know (DISKANN) makes the
# collection unreadable when the database is opened again.
INDEX_TYPES = {
    "lite": ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"),
    "server": (
        "FLAT",
        "HNSW",
        "HNSW_SQ",
        "HNSW_PQ",
        "HNSW_PRQ",
        "IVF_FLAT",
        "IVF_SQ8",
        "IVF_PQ",
        "IVF_RABITQ",
        "SCANN",
        "DISKANN",
        "AUTOINDEX",
    ),
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

FILTER_FIELDS = ("chunk_id", "document_id", "title", "metadata")
HEAD_FIELDS = ("chunk_id", "vector")
CHUNK_FIELDS = (
    *("chunk_id", "document_id", "ordinal", "start", "end"),
    *("title", "text", "metadata", "fingerprint"),
)


def check_index_type(name: str, lite: bool) -> str:
    """The index type, in capitals.

    Raises: ConfigError if the backend cannot hold it safely.
    """
    backend = "lite" if lite else "server"
    if name.upper() not in INDEX_TYPES[backend]:
        where = "Milvus Lite" if lite else "a Milvus server"
        raise ConfigError(
            f"milvus.index_type {name!r}",
            f"on {where} one of {', '.join(INDEX_TYPES[backend])}",
            "change milvus.index_type in the config file",
        )
    return name.upper()


def build_params(index_type: str) -> dict[str, int]:
    """The index type's build parameters."""
    return dict(_BUILD.get(index_type, {}))


def search_params(index_type: str, limit: int) -> dict[str, object]:
    """How widely to look for `limit` hits; nothing to say for exact search."""
    params: dict[str, int] = {}
    if index_type.startswith("HNSW"):
        params["ef"] = max(64, 2 * limit)
    elif index_type.startswith("IVF") or index_type == "SCANN":
        params["nprobe"] = 32
    elif index_type == "DISKANN":
        params["search_list"] = max(100, 2 * limit)
    return {"metric_type": METRIC, "params": params}


def schema(collection: CollectionSpec) -> CollectionSchema:
    """The collection's fields: id and vector, and for chunks what people read."""
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
    fields.add_field("vector", DataType.FLOAT_VECTOR, dim=collection.dim)
    return fields


def record_schema() -> CollectionSchema:
    """Version records in pieces; Milvus asks for a vector, so there is one of no meaning."""
    fields = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    fields.add_field("part", DataType.VARCHAR, max_length=256, is_primary=True)
    fields.add_field("payload", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
    fields.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    return fields


def quoted(text: str) -> str:
    """The text as a string literal of Milvus's filter language, whatever it holds.

    Servers before 2.5 and Lite have no filter templates, so the text has to be in the filter.
    """
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'
