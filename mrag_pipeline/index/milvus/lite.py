"""Milvus Lite's folder: where it is, what it takes, and what a killed process left in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mrag_pipeline.errors import ConfigError, PlanRefused
from mrag_pipeline.ports import CollectionSpec

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_SERVER_SCHEMES = ("http://", "https://", "tcp://", "unix:")
_BYTES_PER_NUMBER = 9.0  # measured: a float32 in the data file and in the FLAT index's


def database_path(uri: str) -> Path | None:
    """The database's folder if the URI is Milvus Lite's; None if it is a server's.

    Raises: ConfigError.
    """
    if uri.startswith(_SERVER_SCHEMES):
        return None
    if "://" in uri or not uri.endswith(".db"):
        raise ConfigError(
            f"milvus.uri {uri!r}",
            "a path ending in .db (Milvus Lite), or http://host:19530 (a server)",
            "change milvus.uri in the config file",
        )
    path = Path(uri).expanduser().absolute()
    if path.is_file():
        raise ConfigError(
            f"{path} is a file, perhaps of Milvus Lite 2",
            "a folder of Milvus Lite 3, or nothing yet",
            "move the file away or point milvus.uri elsewhere, then run `mrag ingest`",
        )
    return path


def check_space(path: Path, collections: Sequence[CollectionSpec], num_chunks: int) -> None:
    """Refuses what the disk cannot hold.

    Raises: PlanRefused.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    needed = int(num_chunks * sum(c.dim for c in collections) * _BYTES_PER_NUMBER)
    if needed > free:
        raise PlanRefused(
            f"{free / 1e6:,.0f} MB free for {path}",
            f"about {needed / 1e6:,.0f} MB for {num_chunks:,} chunks",
            "free space, or point milvus.uri to a larger disk",
        )


def size_bytes(path: Path) -> int:
    """All files of the database."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def remove_leftover(path: Path, collection: str) -> None:
    """Removes a collection's folder that has lost its schema, so that it can be created again.

    That is what a process killed while creating or dropping leaves behind. Lite then neither
    knows the collection nor can create it.
    """
    folder = path / "collections" / collection
    if folder.is_dir() and not (folder / "schema.json").exists():
        shutil.rmtree(folder)


def remove_damaged(client: MilvusClient, path: Path, collection: str, timeout_s: float) -> None:
    """Removes a collection whatever state its files are in; one that is not there stays so."""
    from pymilvus import MilvusException

    with suppress(MilvusException):  # Lite stumbles over the very files that are to go
        client.drop_collection(collection, timeout=timeout_s)
    folder = path / "collections" / collection
    if folder.is_dir():
        shutil.rmtree(folder)


def remove_damaged_aliases(path: Path) -> None:
    """Removes the file of all aliases if it is no JSON object of them."""
    file = path / "aliases.json"
    with suppress(FileNotFoundError, ValueError):
        if isinstance(json.loads(file.read_text("utf-8")), dict):
            return
    file.unlink(missing_ok=True)
