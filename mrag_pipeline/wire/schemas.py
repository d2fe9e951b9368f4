"""Request and response bodies of the API, shared by the service and its clients.

Imports only pydantic, so that a client needs nothing else of this package.
Shape legend: W windows, V voters (heads, then `standard` if it votes).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mrag_pipeline.wire.filters import Filter
from mrag_pipeline.wire.schema import Schema

# Upper bounds for any service; `[serve]` sets the lower limits of one.
MAX_K = 1000
MAX_QUERY_CHARS = 1_000_000
MAX_QUERIES = 1000
MIN_TIMEOUT_S = 0.01
MAX_TIMEOUT_S = 600.0


# ------------------------------------------------------------------ questions
Share = Annotated[float, Field(ge=0.0, le=1e6)]


class VoterShares(Schema):
    """How much each kind of voter counts: only the ratios matter.

    0 does not even search it; one that is left out keeps the share that it has in the strategy.
    """

    heads: Share | None = Field(default=None, description="All heads together.")
    standard: Share | None = Field(default=None, description="The ordinary vector.")
    lexical: Share | None = Field(default=None, description="The words, by BM25.")


class SearchBody(Schema):
    """A question, and how to answer it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "parse a CSV over HTTP with a timeout and store its rows in SQLite"},
                {
                    "query": "walk a directory tree and hash every file",
                    "k": 5,
                    "strategy": "mrag",
                    "filter": {"field": "metadata.library", "op": "eq", "value": "os"},
                    "explain": True,
                },
            ]
        }
    )

    query: str = Field(min_length=1, max_length=MAX_QUERY_CHARS)
    k: int | None = Field(
        default=None, ge=1, le=MAX_K, description="Documents to fetch. Default: the service's."
    )
    strategy: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        examples=["aspect"],
        description="Default: the service's.",
    )
    filter: Filter | None = Field(default=None, description="Search only documents that match.")
    tenant: str | None = Field(
        default=None,
        max_length=512,
        description="Search only this tenant's documents. A key bound to a tenant always does.",
    )
    windows: list[Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARS)]] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Search by these pieces instead of cutting the query, each counting fully; "
        "`adaptive` has the whole query beside them. Sub-queries for fusion.",
    )
    voters: VoterShares | None = Field(
        default=None, description="Shares of the vote, in place of the strategy's own."
    )
    min_heads: int | None = Field(
        default=None,
        ge=1,
        description="How many heads must answer in time. Default: all.",
    )
    min_score: float | None = Field(
        default=None,
        ge=-1.0,
        le=1.0,
        description="Leave out hits whose `cosine` is lower. Default: none is left out.",
    )
    rerank: bool | None = Field(
        default=None,
        description="Whether the service's reranker orders the documents. Default: if it has one.",
    )
    explain: bool = Field(default=False, description="Return each hit's votes by voter and window.")
    timeout_s: float | None = Field(default=None, ge=MIN_TIMEOUT_S, le=MAX_TIMEOUT_S)


class BatchBody(Schema):
    """Several questions, answered together from one version; the shortest `timeout_s` applies."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "searches": [
                        {"query": "compress a folder and mail it", "k": 3},
                        {"query": "parse dates in two time zones", "k": 3, "strategy": "mrag"},
                    ]
                }
            ]
        }
    )

    searches: list[SearchBody] = Field(min_length=1, max_length=MAX_QUERIES)


class AnswerBody(SearchBody):
    """A question for the chat model to answer from the passages found.

    `timeout_s` limits the search and the chat model together.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "How do I fetch a CSV over HTTP and store its rows in SQLite?", "k": 6},
                {"query": "How do I mail a folder as a ZIP archive?", "k": 6, "stream": True},
            ]
        }
    )

    stream: bool = Field(default=False, description="Stream the answer as server-sent events.")
    max_context_tokens: int | None = Field(default=None, ge=64, le=1_000_000)


# ------------------------------------------------------------------ answers
class WindowPart(Schema):
    """A piece of the query that was searched separately: query[start:end], in characters."""

    text: str
    start: int
    end: int
    scale: str


class Chunk(Schema):
    """A passage of the index: [start, end) of its document, in characters."""

    # A string: JavaScript's numbers cannot hold every int64.
    chunk_id: str
    document_id: str
    ordinal: int
    start: int
    end: int
    title: str
    text: str
    metadata: dict[str, JsonValue]


class SearchHit(Chunk):
    """A document found, shown by its best passage."""

    vote: float
    cosine: float | None = Field(
        default=None,
        description="The score: the best cosine of the standard vector, over the windows and the "
        "passages that got votes. Null if no time was left for it.",
    )
    bm25: float | None = Field(
        default=None,
        description="The same by words; 0 if none is in common. Null: the version has no words.",
    )
    vote_share: float | None = Field(
        default=None, description="Its share of all votes, of every voter in every window."
    )
    aspects: list[int] = Field(
        default=[], description="Indexes in `aspects` whose source this passage can be."
    )
    window: int = Field(description="Index in `windows` of the window that voted most for it.")
    rerank_score: float | None = Field(
        default=None,
        description="The reranker's; compare it with those of the same `rerank_window` only. "
        "Null: not rescored.",
    )
    rerank_window: int | None = Field(
        default=None, description="Index in `windows` of the one that it was rescored for."
    )
    votes_by_window: list[float] = Field(description="(W,)")
    votes_by_voter: list[float] = Field(description="(V,)")
    votes: list[list[float]] | None = Field(default=None, description="(V, W), if explained.")


class AspectPart(Schema):
    """An aspect of the question, query[start:end], and whether the index has something on it."""

    text: str
    start: int
    end: int
    nearness: float | None = Field(
        description="Of the passage nearest to it: its cosine; of a clause, the mean of its own "
        "and of the whole question's. Null if no time was left for it."
    )
    verdict: Literal["found", "weak", "nothing here"] | None = Field(
        description="By `levels`; null without them."
    )


class VerdictLevels(Schema):
    """The nearness from which a verdict is `weak` (below: `nothing here`), and `found`."""

    weak: float
    found: float


class SearchAnswer(Schema):
    """The documents found, best first, and which voters and windows found them."""

    version: str
    strategy: str
    windows: list[WindowPart]
    voters: list[str] = Field(description="Heads (l05_h07); `standard` is the ordinary vector.")
    missing_voters: list[str] = Field(description="Voters that did not answer in time.")
    hits: list[SearchHit]
    reranker: str = Field(
        default="", description="The model that ordered the hits; empty: the vote did."
    )
    aspects: list[AspectPart] = Field(
        default=[], description="What the index has on each aspect of the question."
    )
    levels: VerdictLevels | None = Field(
        default=None, description="Of the verdicts; null if the version was built without them."
    )
    warnings: list[str] = Field(
        default=[], description="What the caller should know of the answer, in words."
    )
    num_searches: int = Field(default=0, description="Rankings that vote: V x W.")
    seconds: dict[str, float] = Field(
        description="By stage: encode, search, fetch, vote, score, rerank, total."
    )


class BatchAnswer(Schema):
    """The answers, in the order of the searches."""

    answers: list[SearchAnswer]


class Citation(Schema):
    """A passage of the prompt, cited as [number]."""

    number: int = Field(description="The hit's rank, from 1; hits that did not fit leave gaps.")
    hit: SearchHit


class WordedAnswer(Schema):
    """An answer in words, with the passages that the chat model was given."""

    answer: str
    citations: list[Citation]
    unsourced: list[AspectPart] = Field(
        default=[], description="Aspects of which no passage of the prompt can be the source."
    )
    search: SearchAnswer
    model: str
    prompt_tokens: int = Field(description="Tokens of the passages, by the encoder's tokenizer.")


class TextPiece(Schema):
    """Data of a streamed answer's `text` event: the next piece."""

    text: str


class AnswerEnd(Schema):
    """Data of a streamed answer's `done` event: everything but the search's result."""

    answer: str
    citations: list[Citation]
    unsourced: list[AspectPart] = Field(
        default=[], description="Aspects of which no passage of the prompt can be the source."
    )
    model: str
    prompt_tokens: int


class Health(Schema):
    """Whether the service is alive or ready."""

    status: Literal["alive", "ready"]
    version: str = Field(default="", description="The live version, if known.")


class HeadState(Schema):
    """One voter of the index."""

    name: str
    importance: float


class IndexState(Schema):
    """What is served."""

    index: str
    version: str
    created: str
    num_documents: int | None = Field(
        default=None, description="Of all tenants; null for a key that is bound to one."
    )
    num_chunks: int | None = Field(
        default=None, description="Of all tenants; null for a key that is bound to one."
    )
    model: str
    heads: list[HeadState]
    strategies: dict[str, str] = Field(description="Each strategy's name and what it does.")
    default_strategy: str = Field(description="Of a request that names none.")
    default_k: int = Field(default=10, description="Documents for a request that names no number.")
    examples: list[str] = Field(description="Questions to try.")
    chat_model: str = Field(
        default="", description="The model that words the answers of /v1/answer; empty: none."
    )


class Problem(BaseModel):
    """An error (RFC 9457, application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    expected: str = ""
    fix: str = ""
    request_id: str = ""
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="Each place where the body does not fit the schema."
    )
