"""What goes over the wire, in and out: the API's one source, for the service and its clients.

Imports pydantic alone, so that a client needs nothing else of this package.
Shape legend: W windows, V voters (heads, then `standard` if it votes).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

# Generous bounds of what is ever taken; `[serve]` sets the ones that hold.
MAX_K = 1000
MAX_QUERY_CHARS = 1_000_000
MAX_QUERIES = 1000
MIN_TIMEOUT_S = 0.01
MAX_TIMEOUT_S = 600.0

Op = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "prefix", "exists"]
Scalar = Annotated[str, Field(max_length=4096)] | bool | int | float


class Schema(BaseModel):
    """An unknown key is an error: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


# ------------------------------------------------------------------ filters
class Condition(Schema):
    """One field compared with a value. A document without the field never matches."""

    field: str = Field(
        max_length=512,
        description="`document_id`, `title`, or `metadata.KEY` (`metadata.KEY.KEY` goes deeper).",
        examples=["metadata.year"],
    )
    op: Op = Field(examples=["ge"])
    value: Scalar | list[Scalar] | None = Field(
        default=None,
        description="A string, number or boolean; a list for `in`; nothing for `exists`.",
        examples=[2020],
    )


class AllOf(Schema):
    """Every one holds."""

    all: list[Filter] = Field(min_length=1, max_length=64)


class AnyOf(Schema):
    """At least one holds."""

    any: list[Filter] = Field(min_length=1, max_length=64)


class Not(Schema):
    """It does not hold."""

    negated: Filter = Field(alias="not")


def _kind(value: Any) -> str | None:
    """Which of the filters a value is, so that it is measured by that one's schema alone."""
    if isinstance(value, dict):
        return next((key for key in ("all", "any", "not") if key in value), "condition")
    kinds: dict[type, str] = {Condition: "condition", AllOf: "all", AnyOf: "any", Not: "not"}
    return kinds.get(type(value))


Filter = Annotated[
    Annotated[Condition, Tag("condition")]
    | Annotated[AllOf, Tag("all")]
    | Annotated[AnyOf, Tag("any")]
    | Annotated[Not, Tag("not")],
    Discriminator(
        _kind,
        custom_error_type="not_a_filter",
        custom_error_message="Input should be a condition (field, op, value), or all, any or not",
    ),
]


# ------------------------------------------------------------------ questions
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
    k: int = Field(default=10, ge=1, le=MAX_K, description="Documents to fetch.")
    strategy: str = Field(default="aspect", max_length=64, examples=["aspect"])
    filter: Filter | None = Field(default=None, description="Only documents that match it.")
    tenant: str | None = Field(
        default=None,
        max_length=512,
        description="Only this tenant's documents. A key that is bound to a tenant has its own.",
    )
    windows: list[Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARS)]] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="The pieces to search by, instead of ours; a fusion strategy's sub-queries.",
    )
    min_heads: int | None = Field(
        default=None,
        ge=1,
        description="Answer though some heads did not, if so many did. Left out: all must.",
    )
    explain: bool = Field(default=False, description="Each hit's votes by voter and window.")
    timeout_s: float | None = Field(default=None, ge=MIN_TIMEOUT_S, le=MAX_TIMEOUT_S)


class BatchBody(Schema):
    """Several questions, answered in one go on one version, in the time of the hastiest."""

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
    """A question to be answered in words, from what is found.

    `timeout_s` bounds the search and the words together.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "How do I fetch a CSV over HTTP and store its rows in SQLite?", "k": 6},
                {"query": "How do I mail a folder as a ZIP archive?", "k": 6, "stream": True},
            ]
        }
    )

    stream: bool = Field(default=False, description="Answer piece by piece: server-sent events.")
    max_context_tokens: int | None = Field(default=None, ge=64, le=1_000_000)


# ------------------------------------------------------------------ answers
class WindowPart(Schema):
    """A piece of the query that was searched on its own: query[start:end], in characters."""

    text: str
    start: int
    end: int
    scale: str


class Chunk(Schema):
    """A passage as the index keeps it: [start, end) of its document, in characters."""

    # A string: an int64 is more than a browser's numbers hold.
    chunk_id: str
    document_id: str
    ordinal: int
    start: int
    end: int
    title: str
    text: str
    metadata: dict[str, JsonValue]


class SearchHit(Chunk):
    """A document found, by its best passage."""

    vote: float
    window: int = Field(description="The window that voted most for it: an index of `windows`.")
    votes_by_window: list[float] = Field(description="(W,)")
    votes_by_voter: list[float] = Field(description="(V,)")
    votes: list[list[float]] | None = Field(default=None, description="(V, W), if explained.")


class SearchAnswer(Schema):
    """What was found, best first, and who said so."""

    version: str
    strategy: str
    windows: list[WindowPart]
    voters: list[str] = Field(description="Heads as l05_h07; `standard` is the ordinary vector.")
    missing_voters: list[str] = Field(description="Those that did not answer in time.")
    hits: list[SearchHit]
    seconds: dict[str, float] = Field(description="By stage: encode, search, fetch, vote, total.")


class BatchAnswer(Schema):
    """The answers, in the order of the searches."""

    answers: list[SearchAnswer]


class Citation(Schema):
    """A passage that the prompt held, as [number]."""

    number: int = Field(description="The hit's place, from 1: a hit left out leaves a gap.")
    hit: SearchHit


class WordedAnswer(Schema):
    """An answer in words, with the passages it was given."""

    answer: str
    citations: list[Citation]
    search: SearchAnswer
    model: str
    prompt_tokens: int = Field(description="Of the passages, by the encoder's tokenizer.")


class TextPiece(Schema):
    """The data of a streamed answer's `text` event: what comes next."""

    text: str


class AnswerEnd(Schema):
    """The data of a streamed answer's `done` event: all but what `search` has told."""

    answer: str
    citations: list[Citation]
    model: str
    prompt_tokens: int


class Health(Schema):
    """How the service is."""

    status: Literal["alive", "ready"]
    version: str = Field(default="", description="The live version, where it is known.")


class HeadState(Schema):
    """One voter of the index."""

    name: str
    importance: float


class IndexState(Schema):
    """What is served."""

    index: str
    version: str
    created: str
    num_documents: int
    num_chunks: int
    model: str
    heads: list[HeadState]
    strategies: dict[str, str] = Field(description="Names, and what each does.")
    default_strategy: str
    examples: list[str] = Field(description="Questions to try.")


class Problem(BaseModel):
    """What went wrong (RFC 9457, application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    expected: str = ""
    fix: str = ""
    request_id: str = ""
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="Where the body is wrong, place by place."
    )


for _model in (AllOf, AnyOf, Not, SearchBody, AnswerBody, BatchBody):
    _model.model_rebuild()
