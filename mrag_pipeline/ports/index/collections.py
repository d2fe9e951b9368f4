"""Building, listing and dropping whole collections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from mrag_pipeline.ports.index.capabilities import HasCapabilities
from mrag_pipeline.ports.index.collection_spec import CollectionSpec
from mrag_pipeline.ports.index.ranges import RangedLoads

if TYPE_CHECKING:
    import pyarrow as pa


class Collections(HasCapabilities, Protocol):
    """The collections of one index, each built whole or not at all.

    All raise IndexBusy (another process owns the index) or IndexUnavailable when they cannot
    answer.
    """

    def check_limits(
        self, collections: Sequence[CollectionSpec], num_chunks: int
    ) -> tuple[str, ...]:
        """Refuses collections that the store cannot hold: `capabilities()`, and the room left.

        Collections that exist take no more room, however little is left.

        Returns: warnings for a person, a sentence each, where a limit is near.
        Raises: PlanRefused.
        """

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        """Builds the collection anew: dropped if it exists, created, filled, indexed, loaded.

        Args:
            tables: `Staging.head`'s or `Staging.chunks`'s. Of `StagedTables`, a server may read
                the files by itself.
            on_rows: called with the number of rows just added, and with 0 now and then while a
                server works; an error that it raises ends the load.
        Returns: the rows counted in the collection afterwards.
        Raises: PlanRefused if the collection belongs to the live version.
        """

    def ranges(self) -> RangedLoads | None:
        """For collections that several processes fill; None where one must."""

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """Whether the collection exists, is indexed and loaded, and has exactly so many rows."""

    def collections(self) -> list[str]:
        """The names of this index's collections, sorted."""

    def drop(self, collection: str) -> None:
        """Removes a collection if it exists.

        Raises: PlanRefused if it belongs to the live version.
        """
