"""What a caller may ask for: the service's limits, and whose documents. Decided before any work."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.domain import filters
from mrag_pipeline.domain.filters import All, Condition, Filter
from mrag_pipeline.domain.strategies import strategy
from mrag_pipeline.errors import ConfigError, Forbidden
from mrag_pipeline.query.question import Query
from mrag_pipeline.serving.backend import Ask
from mrag_pipeline.serving.http.api_ports import Caller
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import SearchBody


@dataclass(frozen=True, slots=True)
class Admission:
    """Bodies to asks, under one service's limits."""

    spec: ServeSpec

    def ask(self, body: SearchBody, caller: Caller) -> Ask:
        """The body as the backend takes it.

        Raises: ConfigError for what is over a limit, a wrong filter or strategy; Forbidden for
            another's documents.
        """
        self._check_size("query", len(body.query))
        for at, window in enumerate(body.windows or ()):
            self._check_size(f"windows[{at}]", len(window))
        # Nobody is refused for a default.
        k = body.k if "k" in body.model_fields_set else min(body.k, self.spec.max_k)
        if k > self.spec.max_k:
            raise ConfigError(f"k = {k}", f"at most {self.spec.max_k}", "ask for fewer")
        strategy(body.strategy)
        query = Query(body.query, body.strategy, tuple(body.windows or ()))
        theirs = None
        if body.filter is not None:
            theirs = filters.parse(body.filter.model_dump(by_alias=True, exclude_unset=True))
        return Ask(query, k, self.narrowed(theirs, body.tenant, caller), body.min_heads)

    def check_batch(self, size: int) -> None:
        """Refuses a batch of more questions than are taken.

        Raises: ConfigError.
        """
        if size > self.spec.max_batch_queries:
            raise ConfigError(
                f"{size} searches in one batch",
                f"at most {self.spec.max_batch_queries}",
                "send them in several batches",
            )

    def seconds(self, asked: float | None) -> float:
        """How long a search may take: as asked, and never longer than the service allows."""
        return self.spec.timeout_s if asked is None else min(asked, self.spec.timeout_s)

    def narrowed(self, theirs: Filter | None, named: str | None, caller: Caller) -> Filter | None:
        """The caller's filter, within the documents the caller may see.

        Raises: Forbidden if the key is bound to another tenant, or to one where the service
            knows no tenants; ConfigError if one is named there.
        """
        field = self.spec.tenant_field
        bound = caller.tenant
        if bound is not None and not field:
            # Answering from everybody's documents would be worse than not answering.
            raise Forbidden(
                "the key is bound to a tenant, and this service does not tell tenants apart",
                "serve.tenant_field set, or a key without a tenant",
                "tell whoever runs the service",
            )
        if bound is not None and named is not None and named != bound:
            raise Forbidden(
                "the key is bound to another tenant than the one named",
                "no tenant, or the key's own",
                "leave `tenant` out",
            )
        if named is not None and not field:
            raise ConfigError(
                "a tenant is named, and this service does not tell tenants apart",
                "no tenant",
                "leave `tenant` out, or set serve.tenant_field",
            )
        tenant = named if bound is None else bound
        if tenant is None:
            return theirs
        mine = Condition(f"metadata.{field}", "eq", tenant)
        return mine if theirs is None else All((mine, theirs))

    def _check_size(self, where: str, chars: int) -> None:
        if chars > self.spec.max_query_chars:
            raise ConfigError(
                f"{where} of {chars} characters",
                f"at most {self.spec.max_query_chars}",
                "shorten it, or split it into several searches",
            )
