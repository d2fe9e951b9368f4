"""Checks requests before any work: the service's limits, and whose documents a caller may see."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrag_pipeline.domain import filters
from mrag_pipeline.domain.filters import All, Condition, Filter
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.errors import ConfigError, Forbidden
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.backend import Ask
from mrag_pipeline.serving.http.api_ports import Caller
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import SearchBody


@dataclass(frozen=True, slots=True)
class Admission:
    """Turns request bodies into Asks, within one service's limits and with its defaults."""

    spec: ServeSpec
    retrieve: RetrieveSpec = field(default_factory=RetrieveSpec)

    def ask(self, body: SearchBody, caller: Caller) -> Ask:
        """The Ask for a body.

        Raises: ConfigError for a value over a limit, a wrong filter, strategy or share of a voter;
            Forbidden for another tenant's documents.
        """
        self._check_size("query", len(body.query))
        for row, window in enumerate(body.windows or ()):
            self._check_size(f"windows[{row}]", len(window))
        k = self.default_k() if body.k is None else body.k
        if k > self.spec.max_k:
            raise ConfigError(f"k = {k}", f"at most {self.spec.max_k}", "ask for fewer")
        shares = body.voters.model_dump(exclude_none=True) if body.voters else {}
        strategy = choose_strategy(body.strategy or "", shares, self.retrieve)
        query = Query(body.query, strategy.name, tuple(body.windows or ()), shares)
        own_filter = None
        if body.filter is not None:
            own_filter = filters.parse(body.filter.model_dump(by_alias=True, exclude_unset=True))
        narrowed = self.narrowed(own_filter, body.tenant, caller)
        visible = self.narrowed(None, body.tenant, caller)
        return Ask(
            query,
            k,
            narrowed,
            body.min_heads,
            visible,
            body.min_score,
            body.rerank,
            caller=caller.name,
        )

    def default_k(self) -> int:
        """Documents for a request that names no k: never more than the service allows."""
        return min(self.retrieve.k, self.spec.max_k)

    def check_batch(self, size: int) -> None:
        """Refuses a batch over the limit.

        Raises: ConfigError.
        """
        if size > self.spec.max_batch_queries:
            raise ConfigError(
                f"{size} searches in one batch",
                f"at most {self.spec.max_batch_queries}",
                "send them in several batches",
            )

    def seconds(self, timeout_s: float | None) -> float:
        """The time limit of a search: the request's, at most the service's."""
        return self.spec.timeout_s if timeout_s is None else min(timeout_s, self.spec.timeout_s)

    def narrowed(
        self, own_filter: Filter | None, tenant: str | None, caller: Caller
    ) -> Filter | None:
        """The caller's filter, narrowed to the documents that the caller may see.

        Args:
            tenant: that the request names.
        Raises: Forbidden if the key is bound to another tenant, or is bound to one although the
            service has no tenants; ConfigError if the request names one there.
        """
        field = self.spec.tenant_field
        bound = caller.tenant
        if bound is not None and not field:
            # Refusing is safer than answering from all documents.
            raise Forbidden(
                "the key is bound to a tenant, but this service has no tenants",
                "serve.tenant_field set, or a key without a tenant",
                "ask the operator of the service",
            )
        if bound is not None and tenant is not None and tenant != bound:
            raise Forbidden(
                "the key is bound to another tenant than the one named",
                "the key's own tenant, or none",
                "leave `tenant` out",
            )
        if tenant is not None and not field:
            raise ConfigError(
                "the request names a tenant, but this service has no tenants",
                "no tenant",
                "leave `tenant` out, or set serve.tenant_field",
            )
        tenant = tenant if bound is None else bound
        if tenant is None:
            return own_filter
        of_tenant = Condition(f"metadata.{field}", "eq", tenant)
        return of_tenant if own_filter is None else All((of_tenant, own_filter))

    def _check_size(self, where: str, chars: int) -> None:
        if chars > self.spec.max_query_chars:
            raise ConfigError(
                f"{where} of {chars} characters",
                f"at most {self.spec.max_query_chars}",
                "shorten it, or split it into several searches",
            )
