"""Reads a version's record, and prepares the searches of the version as it is then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.stored_format import digest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import NotReady
from mrag_pipeline.ports import ServedIndex
from mrag_pipeline.query.document_cache import DocumentCache
from mrag_pipeline.query.held_vectors import HeldIndex
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.serving.held_version import HeldVersion, state_of
from mrag_pipeline.settings.retrieve import RetrieveSpec


@dataclass(frozen=True, slots=True, eq=False)
class KnownVersion:
    """A version, and how it is searched."""

    version: str
    searcher: Searcher  # with cached documents or held vectors, unless rows are being changed
    index_searcher: Searcher  # asks the index for everything
    holds_vectors: bool  # whether `searcher` searches vectors in memory
    mark: str  # mark_of the encoder that built it
    read_at: float  # when its record was


class VersionReader:
    """Makes known versions. Threads may share it."""

    def __init__(
        self,
        index: ServedIndex,
        retrieve: RetrieveSpec | None,
        clock: Callable[[], float],
        remember_s: float,
        held: HeldVersion | None,
    ) -> None:
        """Nothing is read yet.

        Args:
            remember_s: how long chunk-to-document lookups are cached; 0 disables the cache.
            held: holds the version's vectors in memory; None: the index is searched.
        """
        self._index = index
        self._retrieve = retrieve
        self._clock = clock
        self._cache = DocumentCache(index, remember_s, clock=clock) if remember_s > 0 else None
        self._cached_state = ""  # of the record that the cache belongs to
        self._held = held
        self._lock = threading.Lock()

    @property
    def can_hold(self) -> bool:
        """Whether vectors are read into memory at all."""
        return self._held is not None

    def read(self, version: str, may_hold: bool) -> KnownVersion:
        """The version as its record says now.

        Args:
            may_hold: read its vectors into memory. A search loads the collections first: a
                collection that Milvus Lite's server opens twice at a time stays unloaded.

        Raises: NotReady, IndexBusy, IndexUnavailable.
        """
        read_at = self._clock()
        record = self._index.record(version)
        if record is None:
            raise NotReady(
                f"the index has no version {version}",
                "a version that `mrag versions` lists",
                "pin another version, or none to follow the live one",
            )
        self._forget_others(record)
        index_searcher = searcher = Searcher(self._index, record, self._retrieve)
        vectors = self._held.vectors(record) if self._held is not None and may_hold else None
        if vectors is not None:
            held = HeldIndex(self._index, vectors)
            searcher = Searcher(held, record, self._retrieve, is_held=True)
        elif self._cache is not None and not record.is_changing():
            searcher = Searcher(self._index, record, self._retrieve, self._cache)
        return KnownVersion(
            version,
            searcher,
            index_searcher,
            vectors is not None,
            mark_of(record.encoder),
            read_at,
        )

    def close(self) -> None:
        """Lets go of held vectors, and stops reading them."""
        if self._held is not None:
            self._held.close()

    def _forget_others(self, record: VersionRecord) -> None:
        state = state_of(record)
        with self._lock:
            if self._cache is not None and state != self._cached_state:
                self._cache.forget()
                self._cached_state = state


def mark_of(card: EncoderCard) -> str:
    """A short hash, equal for encoders whose vectors agree; it travels with every query."""
    return digest(card.identity())
