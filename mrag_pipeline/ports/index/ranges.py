"""Filling one collection by several loaders, each with a part of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from mrag_pipeline.ports.index.collection_spec import CollectionSpec

if TYPE_CHECKING:
    import pyarrow as pa


class RangedLoads(Protocol):
    """A collection is filled range by range, from any number of processes, and then indexed.

    Each attempt at a range is stored apart from all others, so one that was cut short, or that goes
    on beside another, adds no row to what is kept. A range has a name of letters, digits and
    underscores, that is not the beginning of another range's and an underscore.
    All raise IndexUnavailable when the server does not answer.
    """

    def begin_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> set[str]:
        """The collection exists without an index; what cannot be kept of it is dropped.

        One process calls it, before any range is loaded.

        Args:
            rows: how many rows each range has, by name.
        Returns: the ranges that are there already, whole.
        Raises: PlanRefused if the collection belongs to the live version.
        """

    def load_range(
        self,
        collection: CollectionSpec,
        name: str,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None],
    ) -> int:
        """A new attempt at a range, from a collection that was begun. Returns: its rows.

        Args:
            on_rows: called with the number of rows just added; an error that it raises ends it.
        Raises: IndexUnavailable if the collection was ended or dropped meanwhile.
        """

    def end_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> int:
        """Keeps one whole attempt at each range, drops all others; indexes, loads, counts.

        One process calls it. Returns: the rows counted in the collection afterwards.
        Raises: VerifyFailed if a range has no attempt with that many rows.
        """
