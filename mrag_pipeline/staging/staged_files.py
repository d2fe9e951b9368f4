"""The files of one staging area: each is written whole, and a shard's are checked when read.

A shard's file name ends in the first digits of its content's sha256. Two workers may write the
same shard (one is slow, or cut off from the cluster but not from the store). Where they compute
the same bits, they write the same files; where they do not, their files lie side by side. So
neither worker can damage a file that the other's receipt names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from mrag_pipeline.domain.manifest import Receipt, StagedFile
from mrag_pipeline.errors import StagingError
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.recently_read import Recent

_RECEIPT = "receipt.json"
_RECEIPTS = 1_024  # held in memory: 10 MB with 32 heads
_TAG_DIGITS = 12
WRITE_ANEW = "run the same command again: only the deleted part is computed again"
_TAG = re.compile(rf"-[0-9a-f]{{{_TAG_DIGITS}}}\.parquet$")


class StagedFiles:
    """Reads and writes tables and receipts in a folder."""

    def __init__(self, folder: Folder, compression: str, write_anew: str = WRITE_ANEW) -> None:
        """Opens the folder.

        Args:
            write_anew: for messages: how a part that was deleted is written again.
        """
        self._folder = folder
        self._write_anew = write_anew
        self._compression = compression
        self._receipts = Recent[Receipt](_RECEIPTS)

    def encode(self, table: pa.Table) -> pa.Buffer:
        """The table as Parquet, compressed as the config says."""
        return tables.parquet(table, self._compression)

    def write_table(self, path: str, table: pa.Table) -> None:
        """Stores a table of the version, replacing an earlier one whole."""
        self._folder.write(path, self.encode(table))

    def read_table(self, path: str) -> pa.Table | None:
        """The table of the version, None if it was not written yet.

        Raises: StagingError if it is damaged.
        """
        content = self._folder.read(path)
        return None if content is None else self._parse(path, content)

    def write_shard_tables(
        self, shard: int, named_tables: Iterable[tuple[str, pa.Table]]
    ) -> tuple[StagedFile, ...]:
        """Stores each table, its content's hash added to its name."""
        files = []
        for name, table in named_tables:
            content = self.encode(table)
            digest = hashlib.sha256(content).hexdigest()
            tagged_name = name.replace(".parquet", f"-{digest[:_TAG_DIGITS]}.parquet")
            self._folder.write(f"{shard_folder(shard)}/{tagged_name}", content)
            files.append(StagedFile(tagged_name, content.size, digest))
        return tuple(files)

    def read_shard_table(self, shard: int, name: str, columns: list[str] | None = None) -> pa.Table:
        """The table of that name without its hash, compared with the shard's receipt.

        Raises: StagingError if the shard is not finished, or the file is missing or damaged.
        """
        staged_file = self.staged_file(shard, name)
        path = f"{shard_folder(shard)}/{staged_file.name}"
        content = self._folder.read(path)
        if content is None:
            raise self.damaged(path, "the file does not exist")
        if hashlib.sha256(content).hexdigest() != staged_file.sha256:
            raise self.damaged(path, "its content differs from the receipt's sha256")
        return self._parse(path, content, columns)

    def column_names(self, shard: int, name: str) -> list[str]:
        """The columns of a shard's table, from the end of its file; [] if that cannot be read.

        Raises: StagingError if the shard is not finished, or has no such table.
        """
        path = f"{shard_folder(shard)}/{self.staged_file(shard, name).name}"
        try:
            with self._folder.open(path) as file:
                return list(pq.read_schema(file).names)
        except (OSError, pa.ArrowException):  # whoever reads the whole file says what it is
            return []

    def has_shard_table(self, shard: int, name: str) -> bool:
        """Whether the shard's receipt names the table.

        Raises: StagingError if the shard is not finished.
        """
        return self._find(shard, name) is not None

    def staged_file(self, shard: int, name: str) -> StagedFile:
        """What the shard's receipt says of the table; the file itself is not looked at.

        Raises: StagingError if the shard is not finished, or has no such table.
        """
        staged_file = self._find(shard, name)
        if staged_file is None:
            raise self.damaged(f"{shard_folder(shard)}/{name}", "the shard's receipt has no entry")
        return staged_file

    def write_receipt(self, receipt: Receipt) -> None:
        """Stores the receipt, which makes its shard done."""
        self._folder.write(receipt_path(receipt.shard), receipt.to_json().encode())
        self._receipts.set(receipt.shard, receipt)

    def read_receipt(self, shard: int) -> Receipt | None:
        """The shard's receipt as it is stored now; None if there is none or it is cut short."""
        content = self._folder.read(receipt_path(shard))
        if content is None:
            return None
        try:
            receipt = Receipt.from_json(content.to_pybytes().decode())
        except (ValueError, KeyError, TypeError):
            # Cut short on a filesystem without atomic writes: the shard is not done.
            return None
        self._receipts.set(shard, receipt)
        return receipt

    def receipt(self, shard: int) -> Receipt:
        """The receipt of a finished shard, from memory if it was read recently.

        Raises: StagingError if the shard is not finished.
        """
        receipt = self._receipts.get(shard) or self.read_receipt(shard)
        if receipt is None:
            raise self.damaged(receipt_path(shard), "the shard is not finished")
        return receipt

    def are_whole(self, receipt: Receipt) -> bool:
        """Whether every file that the receipt names exists and has its size."""
        sizes = self._folder.sizes(shard_folder(receipt.shard))
        return all(sizes.get(file.name) == file.num_bytes for file in receipt.files)

    def forget_receipts(self) -> None:
        """Later reads go to the folder again."""
        self._receipts.clear()

    def damaged(self, path: str, why: str) -> StagingError:
        """The error for a file that cannot be used."""
        folder = path.rpartition("/heads/")[0] or path.rpartition("/")[0]
        delete = f"delete {self._folder.describe(folder)}" if folder else "delete it"
        return StagingError(
            f"{self._folder.describe(path)} is missing or damaged: {why}",
            "the file as its receipt describes it",
            f"{delete} and {self._write_anew}",
        )

    def _find(self, shard: int, name: str) -> StagedFile | None:
        files = self.receipt(shard).files
        return next((file for file in files if _TAG.sub(".parquet", file.name) == name), None)

    def _parse(self, path: str, content: pa.Buffer, columns: list[str] | None = None) -> pa.Table:
        try:
            return pq.read_table(pa.BufferReader(content), columns=columns)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self.damaged(path, str(error)) from error


def shard_folder(shard: int) -> str:
    """The shard's folder, relative to the staging area."""
    return f"shards/{shard:05d}"


def receipt_path(shard: int) -> str:
    """The shard's receipt, relative to the staging area."""
    return f"{shard_folder(shard)}/{_RECEIPT}"
