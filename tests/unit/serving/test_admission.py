"""What a caller may request: limits and tenants."""

from __future__ import annotations

from typing import Any

import pytest

from mrag_pipeline.domain.filters import All, Condition
from mrag_pipeline.errors import ConfigError, Forbidden
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.security.admission import Admission
from mrag_pipeline.serving.unguarded import AnyCaller
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import SearchBody

FREE = AnyCaller()
BOUND = AnyCaller("key", "acme")
OPEN = Admission(ServeSpec(max_k=20, max_query_chars=10, max_batch_queries=2, timeout_s=5.0))
SHARED = Admission(ServeSpec(tenant_field="owner.name"))
MINE = Condition("metadata.owner.name", "eq", "acme")
RECENT = {"field": "metadata.year", "op": "ge", "value": 2020}


def body(**values: Any) -> SearchBody:
    return SearchBody.model_validate({"query": "bees", **values})


def test_a_body_becomes_what_the_backend_takes() -> None:
    """Query, strategy, windows, k, filter, heads and least score are passed on."""
    ask = OPEN.ask(
        body(
            k=3,
            strategy="fusion",
            windows=["a", "b"],
            filter=RECENT,
            min_heads=2,
            min_score=0.4,
        ),
        FREE,
    )
    assert ask.query == Query("bees", "fusion", ("a", "b"), {})
    assert (ask.k, ask.min_heads, ask.min_score) == (3, 2, 0.4)
    assert ask.filter == Condition("metadata.year", "ge", 2020)


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        ({"k": 21}, "k = 21", "at most 20"),
        ({"query": "x" * 11}, "query of 11 characters", "at most 10"),
        ({"windows": ["ok", "x" * 11]}, r"windows\[1\] of 11 characters", "at most 10"),
        ({"strategy": "aspct"}, "no strategy 'aspct'", "one of adaptive"),
        (
            {"strategy": "mrag", "voters": {"heads": 0}},
            "no voter of the strategy mrag",
            "a share for one of",
        ),
        ({"filter": {"field": "year", "op": "eq", "value": 1}}, "field 'year'", "metadata.KEY"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_the_limit(
    values: dict[str, Any], found: str, expected: str
) -> None:
    """The error has the value and the limit."""
    with pytest.raises(ConfigError, match=found) as told:
        OPEN.ask(body(**values), FREE)
    assert expected in told.value.expected


def test_a_default_is_never_over_the_limit() -> None:
    """With max_k = 3, a request without k gets 3."""
    assert Admission(ServeSpec(max_k=3)).ask(body(), FREE).k == 3


def test_what_a_request_leaves_out_is_as_configured() -> None:
    """Strategy by name, so that logs and metrics have it; k within the service's limit."""
    tuned = Admission(ServeSpec(max_k=20), RetrieveSpec(strategy="hybrid", k=50))
    ask = tuned.ask(body(voters={"lexical": 2, "standard": None}), FREE)
    assert ask.query == Query("bees", "hybrid", (), {"lexical": 2.0})
    assert ask.k == 20
    assert tuned.ask(body(strategy="aspect"), FREE).query.strategy == "aspect"


def test_batches_have_a_limit() -> None:
    """Two are accepted, three are refused."""
    OPEN.check_batch(2)
    with pytest.raises(ConfigError, match="3 searches"):
        OPEN.check_batch(3)


@pytest.mark.parametrize(("asked", "seconds"), [(None, 5.0), (1.5, 1.5), (60.0, 5.0)])
def test_time_is_as_asked_up_to_the_services(asked: float | None, seconds: float) -> None:
    """A request may lower the limit, never raise it."""
    assert OPEN.seconds(asked) == seconds


def test_a_bound_key_sees_its_tenants_documents_alone() -> None:
    """With or without naming it; its filter is joined, not replaced."""
    assert SHARED.narrowed(None, None, BOUND) == MINE
    assert SHARED.narrowed(None, "acme", BOUND) == MINE
    joined = SHARED.ask(body(filter=RECENT), BOUND).filter
    assert joined == All((MINE, Condition("metadata.year", "ge", 2020)))


def test_a_negated_filter_cannot_leave_the_tenant() -> None:
    """The caller's filter stands beside the tenant's, inside one `all`."""
    filter_ = {"any": [{"not": RECENT}, RECENT]}
    joined = SHARED.ask(body(filter=filter_), BOUND).filter
    assert isinstance(joined, All)
    assert joined.filters[0] == MINE


def test_a_free_key_may_name_a_tenant_or_none() -> None:
    """None named: everybody's."""
    assert SHARED.narrowed(None, "acme", FREE) == MINE
    assert SHARED.narrowed(None, None, FREE) is None


def test_another_tenant_is_forbidden() -> None:
    """Even the empty one."""
    for other in ("umbrella", ""):
        with pytest.raises(Forbidden, match="another tenant"):
            SHARED.narrowed(None, other, BOUND)


def test_a_service_without_tenants_answers_nobody_about_one() -> None:
    """Naming one is an error; a bound key must not see all documents."""
    with pytest.raises(ConfigError, match="this service has no tenants"):
        OPEN.narrowed(None, "acme", FREE)
    with pytest.raises(Forbidden, match="this service has no tenants"):
        OPEN.narrowed(None, None, BOUND)
