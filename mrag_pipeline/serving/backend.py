"""What the HTTP API needs from whoever holds the encoder and the index.

`in_process.py` implements it in one process, `ray/backend.py` over Serve deployments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import OutOfTime
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.query.question import Query

if TYPE_CHECKING:
    from mrag_pipeline.query.answer import Answer
    from mrag_pipeline.query.browse import Look

T = TypeVar("T")

# Why a service is not ready before it can say more, and after that if it no longer can.
SILENT = (
    "the service does not answer at the moment: it is starting, overloaded, or a part of it is gone"
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question for the backend: its limits are checked, the tenant is in its filter."""

    query: Query
    k: int = 10
    filter: Filter | None = None
    min_heads: int | None = None  # None: all must answer
    visible: Filter | None = None  # of the filter, what the caller may see at all: the tenant's
    min_score: float | None = None  # hits whose best cosine is lower are left out
    rerank: bool | None = None  # None: if a reranker is configured
    caller: str = ""  # whose share of the time it takes; "": it has one of its own


@dataclass(frozen=True, slots=True)
class BackendState:
    """What is served, and whether questions are answered."""

    record: VersionRecord | None  # of the live version, None if there is none
    ready: bool
    reason: str = ""  # why it is not ready, for people


class Backend(Protocol):
    """Answers questions. Every method may raise IndexBusy, IndexUnavailable and Overloaded.

    A cancelled call gives no answer; work that has begun may go on to its own deadline.
    """

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        """The answers, in the order of the asks, all from one version.

        Raises: OutOfTime when the seconds are over; HeadsMissing; NotReady (no live version, or
            another encoder built it); ConfigError for an invalid question.
        """

    async def chunk(self, chunk_id: int, only: Filter | None = None) -> ChunkRow | None:
        """The live version's chunk; None if there is none, or if `only` does not match it.

        Raises: NotReady.
        """

    async def browse(self, look: Look[T]) -> T:
        """What the look finds in the live version.

        Raises: NotReady; OutOfTime.
        """

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text, special tokens not counted."""

    async def state(self) -> BackendState:
        """What is served at this moment; anything that `reason` can say is not raised."""


def out_of_time(seconds: float) -> OutOfTime:
    """The error for an answer that did not come within the seconds."""
    return OutOfTime(
        f"no answer within {seconds:g} s",
        "a search that ends in time",
        "give it longer (timeout_s, up to serve.timeout_s), or ask for less",
    )
