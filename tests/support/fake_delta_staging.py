"""A DeltaStaging that lives in memory; it passes tests/contracts/test_delta_staging.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import CorpusReader, Mark
from tests.support.fake_staging import FakeStaging


class FakeDeltaStaging(FakeStaging):
    """The DeltaStaging port in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._documents: dict[str, list[Document]] = {}  # by the path of their slice
        self._removed: list[Mark] | None = None
        self._removed_sums: ImportanceSums | None = None

    def write_documents(self, documents: Sequence[Document]) -> Slice:
        path = f"corpus/{hash(repr(documents)):x}"
        self._documents[path] = list(documents)
        num_bytes = sum(len(document.text) for document in documents)
        return Slice(path, "file", 0, len(documents), num_bytes, path)

    def reader(self) -> CorpusReader:
        return _FakeReader(self._documents)

    def write_removed(self, blocks: Iterable[Sequence[Mark]]) -> None:
        self._removed = list(chain.from_iterable(blocks))

    def removed(self) -> Iterator[Sequence[Mark]]:
        if self._removed is None:
            raise StagingError("the removals are missing")
        for start in range(0, len(self._removed), 3):
            yield self._removed[start : start + 3]

    def write_removed_sums(self, sums: ImportanceSums) -> None:
        self._removed_sums = sums

    def removed_sums(self) -> ImportanceSums | None:
        return self._removed_sums

    def is_open(self) -> bool:
        return bool(self._documents)

    def discard(self) -> None:
        documents = self._documents
        self.__init__()  # type: ignore[misc]
        self._documents = documents

    def finish(self) -> None:
        self._documents.clear()


class _FakeReader:
    def __init__(self, documents: dict[str, list[Document]]) -> None:
        self._documents = documents

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        raise StagingError("a sync's documents are not planned")

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        for part in slices:
            if part.path not in self._documents:
                raise StagingError(f"{part.path} is missing")
            yield from self._documents[part.path]

    def describe(self) -> str:
        return "documents in memory"

    def reading(self) -> Mapping[str, Any]:
        return {}

    def left_out(self) -> Iterator[str]:
        return iter(())
