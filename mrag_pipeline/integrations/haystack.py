"""Haystack: a retriever component over an `Index` or a `Client`."""

from __future__ import annotations

from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy
from haystack.utils import Secret

from mrag_pipeline.client import Client
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.integrations import asking, filter_forms, passages
from mrag_pipeline.wire.schemas import SearchAnswer


@component
class MragRetriever:
    """The documents that answer a question's aspects, best first.

    A Document's `meta["mrag"]` has votes, scores and aspects. Outputs beside `documents`:
    `aspects`, what the index has on each aspect of the question, and `warnings`.
    """

    def __init__(
        self,
        service: asking.Service | None = None,
        *,
        url: str | None = None,
        api_key: Secret | None = None,
        config: str | None = None,
        top_k: int | None = None,
        filters: dict[str, Any] | None = None,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Takes one of `service`, `url` and `config`.

        Args:
            service: an open Index or Client; a pipeline with it cannot be written to YAML.
            url: of a query service.
            api_key: for `url`; None reads MRAG_API_KEY.
            config: a config file, or the folder of an mrag.toml: opens its Index in this process.
            top_k: documents to fetch.
            filters: Haystack's, on `meta.KEY`, `meta.title` and `meta.document_id`.
            filter_policy: whether `run`'s filters replace these or are joined with them.
            options: others of a search: strategy, tenant, min_score...
        Raises: ConfigError.
        """
        sources = {"service": service, "url": url, "config": config}
        given = [name for name, source in sources.items() if source is not None]
        if len(given) != 1:
            raise ConfigError(
                f"MragRetriever with {' and '.join(given) or 'nothing to search'}",
                "one of service, url and config",
            )
        filter_forms.from_haystack(filters)
        self.service = service
        self.url = url
        self.api_key = api_key
        self.config = config
        self.top_k = top_k
        self.filters = filters
        self.filter_policy = filter_policy
        self.options = options or {}
        self._opened: Any = service

    def to_dict(self) -> dict[str, Any]:
        """The component as plain data; a key only by the name of its environment variable.

        Raises: ConfigError for an open service, which cannot be written.
        """
        if self.service is not None:
            raise ConfigError(
                f"an open {type(self.service).__name__} cannot be written with its pipeline",
                "url or config",
                "make the component as MragRetriever(url=...) or MragRetriever(config=...)",
            )
        return default_to_dict(
            self,
            url=self.url,
            api_key=self.api_key.to_dict() if self.api_key else None,
            config=self.config,
            top_k=self.top_k,
            filters=self.filters,
            filter_policy=self.filter_policy.value,
            options=self.options,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MragRetriever:
        """The component that `to_dict` wrote."""
        parameters = dict(data["init_parameters"])
        parameters["filter_policy"] = FilterPolicy.from_str(parameters["filter_policy"])
        return default_from_dict(cls, {**data, "init_parameters": parameters})

    def warm_up(self) -> None:
        """Opens the service or the index; a second call does nothing."""
        if self._opened is not None:
            return
        if self.url is not None:
            key = self.api_key.resolve_value() if self.api_key else None
            self._opened = Client(self.url, api_key=key)
        else:
            from mrag_pipeline.library.index import Index

            self._opened = Index.open(self.config)

    def close(self) -> None:
        """Closes what `warm_up` opened; a service that was given stays open."""
        if self._opened is not self.service:
            self._opened.close()
            self._opened = None

    @component.output_types(
        documents=list[Document], aspects=list[dict[str, Any]], warnings=list[str]
    )
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Searches; `filters` by the component's policy, `top_k` in place of its own."""
        self.warm_up()
        return _outputs(asking.search(self._opened, query, self._asked(filters, top_k)))

    @component.output_types(
        documents=list[Document], aspects=list[dict[str, Any]], warnings=list[str]
    )
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """`run` for coroutines."""
        self.warm_up()
        asked = self._asked(filters, top_k)
        return _outputs(await asking.asearch(self._opened, query, asked))

    def _asked(self, filters: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
        joined = apply_filter_policy(self.filter_policy, self.filters, filters)
        return {
            **self.options,
            "k": self.top_k if top_k is None else top_k,
            "filter": filter_forms.from_haystack(joined),
        }


def _outputs(answer: SearchAnswer) -> dict[str, Any]:
    documents = [
        Document(
            id=hit.chunk_id,
            content=hit.text,
            meta=passages.metadata(answer, rank),
            score=passages.score(answer, rank),
        )
        for rank, hit in enumerate(answer.hits)
    ]
    aspects = [aspect.model_dump() for aspect in answer.aspects]
    return {"documents": documents, "aspects": aspects, "warnings": answer.warnings}
