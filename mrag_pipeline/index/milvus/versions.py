"""The versions of an index on Milvus: their records, and the alias of the live one."""

from __future__ import annotations

from pymilvus import MilvusException

from mrag_pipeline.domain.version import chunks_collection, live_alias, version_in
from mrag_pipeline.errors import IndexDamaged, PlanRefused, VerifyFailed
from mrag_pipeline.index.milvus import lite
from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.database import MilvusDatabase
from mrag_pipeline.index.milvus.records import RecordStore
from mrag_pipeline.settings.milvus import MilvusSpec

_ALIAS_NOT_FOUND = (100, 1600)  # Lite, server


class MilvusVersions(MilvusDatabase):
    """The Versions port on one Milvus database."""

    def __init__(self, spec: MilvusSpec, index: str) -> None:
        super().__init__(spec, index)
        self._records = RecordStore(self._client, spec, index)
        # The store's methods are the port's as they are.
        self.record = self._records.read
        self.records = self._records.all
        self.write_record = self._records.write
        self.begin_import = self._records.begin_import
        self.import_begun = self._records.import_begun

    def live(self) -> str | None:
        """The live version's name."""
        collection = self._alias_target()
        return None if collection is None else version_in(self._index, collection)

    def activate(self, version: str) -> None:
        """Makes a version live: one atomic flip of one alias.

        Raises: PlanRefused if the version's chunks collection does not exist.
        """
        collection = chunks_collection(self._index, version)
        alias = live_alias(self._index)
        with translated(f"cannot make {version} live"):
            if not self._exists(collection):
                raise PlanRefused(
                    f"version {version} has no collection {collection}",
                    "a loaded version",
                    "run `mrag ingest`; `mrag status` lists the versions",
                )
            is_new = self._alias_target() is None
            flip = self._client.create_alias if is_new else self._client.alter_alias
            flip(collection, alias, timeout=self._spec.timeout_s)

    def discard_damaged_alias(self) -> None:
        """Removes Lite's file of all aliases if it is no JSON: until then Lite reads nothing."""
        if self._path is not None:
            lite.remove_damaged_aliases(self._path)

    def discard_damaged_records(self) -> None:
        """Removes the collection of records if it cannot be read."""
        name = self._records.collection
        try:
            self._records.all()
        except IndexDamaged:
            if self._path is None:
                raise
            with translated(f"cannot drop {name}"):
                lite.remove_damaged(self._client, self._path, name, self._spec.timeout_s)
            self._records.forget()
        except VerifyFailed:
            return  # a single record: writing it replaces it

    def drop_record(self, version: str) -> None:
        """Removes a version's record if there is one.

        Raises: PlanRefused if it is the live version's.
        """
        if version == self.live():
            raise PlanRefused(
                f"version {version} is live", "a version that is not live", "activate another"
            )
        self._records.drop(version)

    def _alias_target(self) -> str | None:
        alias = live_alias(self._index)
        with translated(f"cannot resolve {alias}"):
            try:
                answer = self._client.describe_alias(alias, timeout=self._spec.timeout_s)
            except MilvusException as error:
                if error.code in _ALIAS_NOT_FOUND:
                    return None
                raise
            return str(answer["collection_name"])
