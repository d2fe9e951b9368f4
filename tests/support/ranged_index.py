"""An exact index whose collections are filled in ranges, as a server's are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from mrag_pipeline.errors import IndexUnavailable, VerifyFailed
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, RangedLoads


@dataclass
class Filling:
    """A collection that was begun: its attempts, each the tables of a range."""

    attempts: list[tuple[str, list[pa.Table]]] = field(default_factory=list)

    def whole(self, rows: Mapping[str, int]) -> dict[str, list[pa.Table]]:
        """One attempt at each range that has all of its rows."""
        return {
            name: tables
            for name, tables in self.attempts
            if rows.get(name) == sum(table.num_rows for table in tables)
        }


class RangedIndex(ExactIndex):
    """The VectorIndex and RangedLoads ports in memory."""

    def __init__(self) -> None:
        super().__init__("docs")
        self.filling: dict[str, Filling] = {}

    def ranges(self) -> RangedLoads | None:
        return self

    def begin_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> set[str]:
        self.drop(collection.name)
        filling = self.filling.setdefault(collection.name, Filling())
        filling.attempts = list(filling.whole(rows).items())
        return {name for name, _ in filling.attempts}

    def load_range(
        self,
        collection: CollectionSpec,
        name: str,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None],
    ) -> int:
        filling = self._begun(collection)
        sent: list[pa.Table] = []
        filling.attempts.append((name, sent))
        for table in tables:
            if self.filling.get(collection.name) is not filling:
                raise IndexUnavailable(f"{collection.name} was ended meanwhile")
            sent.append(table)
            on_rows(table.num_rows)
        return sum(table.num_rows for table in sent)

    def end_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> int:
        whole = self._begun(collection).whole(rows)
        if missing := rows.keys() - whole.keys():
            raise VerifyFailed(f"{collection.name} lacks {missing}", "each range once", "again")
        del self.filling[collection.name]
        return self.load(collection, [table for name in rows for table in whole[name]])

    def _begun(self, collection: CollectionSpec) -> Filling:
        if collection.name not in self.filling:
            raise IndexUnavailable(f"{collection.name} was not begun, or was ended meanwhile")
        return self.filling[collection.name]
