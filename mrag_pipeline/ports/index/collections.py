"""Building, listing and dropping whole collections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

CollectionKind = Literal["head", "chunks"]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """One collection. The metric is cosine, the primary key `chunk_id`, the vector `vector`."""

    name: str
    kind: CollectionKind
    dim: int


class Collections(Protocol):
    """The collections of one index, each built whole or not at all.

    All raise IndexBusy (another process owns the index) or IndexUnavailable when they cannot
    answer.
    """

    def check_limits(self, collections: Sequence[CollectionSpec], num_chunks: int) -> None:
        """Refuses collections that the store cannot hold.

        Raises: PlanRefused.
        """

    def loads_at_once(self) -> int:
        """How many collections may be loaded at the same time, by threads of one process."""

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        """Builds the collection anew: dropped if it exists, created, filled, indexed, loaded.

        Args:
            tables: `Staging.head`'s or `Staging.chunks`'s.
            on_rows: called with the number of rows just added, and with 0 now and then while a
                server works; an error that it raises ends the load.
        Returns: the rows counted in the collection afterwards.
        Raises: PlanRefused if the collection belongs to the live version.
        """

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """Whether the collection exists, is indexed and loaded, and has exactly so many rows."""

    def collections(self) -> list[str]:
        """The names of this index's collections, sorted."""

    def drop(self, collection: str) -> None:
        """Removes a collection if it exists.

        Raises: PlanRefused if it belongs to the live version.
        """
