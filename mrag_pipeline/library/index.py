"""An index in this process: searched as the service searches, built by the flows of the command."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import httpx

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.client.calls import AnswerOptions, SearchOptions
from mrag_pipeline.client.coroutines import AsyncClient
from mrag_pipeline.config import DEFAULT_FILE, Config, merged
from mrag_pipeline.library.background import LoopThread, in_thread
from mrag_pipeline.library.found import Found
from mrag_pipeline.quick_imports import quick_imports
from mrag_pipeline.settings.corpus import AUTO
from mrag_pipeline.wire.schemas import IndexState, WordedAnswer

import_module("numpy")  # missing in an install of the client: told here, not by the first search

T = TypeVar("T")
Given = tuple[str | None, dict[str, Any]]  # a flow's first arguments: config file, settings


class Index:
    """An index of this machine, or one that its config names. Close it, or use it in a `with`.

    Searches take the options of `mrag_pipeline.client.Client` and return its answers: the API is
    the same, without a network. Works in a thread with a running event loop, as a notebook's.
    """

    def __init__(self, config_file: Path | None, settings: dict[str, Any]) -> None:
        library_settings.settle()  # before one of them is imported
        self._config_file, self._settings = config_file, settings
        self._config = Config.load(config_file, settings)
        self._loop = LoopThread()
        self._opened: tuple[Any, AsyncClient] | None = None
        self._opening = asyncio.Lock()

    @classmethod
    def open(cls, config: str | Path | None = None, **settings: Any) -> Index:
        """The index of a config file, of the folder that holds its mrag.toml, or of this folder.

        Args:
            settings: tables and values that override the file's, nested like it:
                `index="docs"`, `milvus={"uri": "docs.db"}`.
        Raises: ConfigError. Model and index are opened by the first call that needs them.
        """
        path = None if config is None else Path(config)
        if path is not None and path.is_dir():
            path = path / DEFAULT_FILE
        return cls(path, settings)

    def search(self, query: str, **options: Unpack[SearchOptions]) -> Found:
        """The documents that answer the query best; a notebook shows them with their votes.

        Raises: ServiceRefused, with the reason, for what cannot be answered, such as no live
            version; ConfigError for invalid arguments.
        """
        return self._loop.submit(self._search(query, options)).result()

    async def asearch(self, query: str, **options: Unpack[SearchOptions]) -> Found:
        """`search` for coroutines of any event loop."""
        return await asyncio.wrap_future(self._loop.submit(self._search(query, options)))

    def answer(self, query: str, **options: Unpack[AnswerOptions]) -> WordedAnswer:
        """An answer in words with its citations; `[llm]` names the chat model."""
        return self._loop.submit(self._answer(query, options)).result()

    async def aanswer(self, query: str, **options: Unpack[AnswerOptions]) -> WordedAnswer:
        """`answer` for coroutines of any event loop."""
        return await asyncio.wrap_future(self._loop.submit(self._answer(query, options)))

    def state(self) -> IndexState:
        """The live version: counts, heads, strategies."""

        async def asked() -> IndexState:
            return await (await self._client()).index()

        return self._loop.submit(asked()).result()

    def ingest(self, source: object = None, *, gate: bool = True) -> dict[str, Any]:
        """Builds a version from the source and makes it live, as `mrag ingest`; resumes if stopped.

        Args:
            source: a path or URI; a DataFrame, Arrow table or dataset, or anything that gives an
                Arrow stream; a Hugging Face dataset or other iterable of dicts or Documents.
                None: the config's corpus.
            gate: compare with the live version first.
        Returns: the run's figures, as `mrag ingest --json` prints them.
        """

        def flow(given: Given) -> Callable[[], dict[str, Any]]:
            from mrag_pipeline.flows.ingest import ingest

            return partial(ingest, *given, gate)

        return self._run(source, flow)

    def sync(
        self, source: object = None, *, allow_deletes: bool = False, full: bool = False
    ) -> dict[str, Any]:
        """Brings the live version up to date with the source, as `mrag sync`.

        Args:
            source: as in `ingest`; all documents that the index is to have.
            full: read also unchanged files, and the rows of a database that cannot have changed by
                its `updated_field`.
        """

        def flow(given: Given) -> Callable[[], dict[str, Any]]:
            from mrag_pipeline.flows.sync import sync

            return partial(sync, *given, allow_deletes, full=full)

        return self._run(source, flow)

    def upsert(self, source: object, *, key: str = "", wait_s: float = 0.0) -> dict[str, Any]:
        """Adds documents to the live version, or replaces those of the same ids: `mrag upsert`.

        Reads neither the corpus nor other documents of the index. Of one id, the last counts.

        Args:
            source: as in `ingest`; only the documents that are new or have changed.
            key: your name for these changes, such as a message id: they are applied once under it.
            wait_s: seconds to wait for another run on the index to end.
        """
        with tempfile.TemporaryDirectory() as folder:
            given = wiring.given_corpus(source, folder, "pushed")
            format_ = given.get("format", AUTO)
            return self._push(key, wait_s, documents=given["uri"], document_format=format_)

    def delete(self, ids: Iterable[str], *, key: str = "", wait_s: float = 0.0) -> dict[str, Any]:
        """Removes documents from the live version by their ids, as `mrag delete`."""
        deleted = [ids] if isinstance(ids, str) else list(ids)
        return self._push(key, wait_s, deleted=deleted)

    def close(self) -> None:
        """Closes what was opened; a second call does nothing."""
        if self._loop.is_open:
            self._loop.submit(self._shut()).result()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _run(
        self,
        source: object,
        flow: Callable[[Given], Callable[[], dict[str, Any]]],
    ) -> dict[str, Any]:
        from mrag_pipeline.flows.progress import show_with
        from mrag_pipeline.flows.reporting import reporting
        from mrag_pipeline.library.live_progress import shown_progress

        settings = self._settings
        if source is not None:
            corpus = wiring.given_corpus(source, self._config.staging.uri, self._config.index)
            settings = merged(settings, {"corpus": corpus})
        # A local database has one owner at a time.
        self._loop.submit(self._shut()).result()
        file = None if self._config_file is None else str(self._config_file.absolute())

        def run() -> dict[str, Any]:
            with reporting():  # before flows are imported
                with quick_imports():
                    call = flow((file, settings))
                    wiring.import_libraries(self._config)
                with shown_progress() as progress:
                    show_with(progress)
                    return call()

        return in_thread(run)

    def _push(self, key: str, wait_s: float, **changes: Any) -> dict[str, Any]:
        changes |= {"key": key, "wait_s": wait_s}

        def flow(given: Given) -> Callable[[], dict[str, Any]]:
            from mrag_pipeline.flows.push import push

            return partial(push, *given, **changes)

        return self._run(None, flow)

    async def _search(self, query: str, options: SearchOptions) -> Found:
        return Found.of(await (await self._client()).search(query, **options))

    async def _answer(self, query: str, options: AnswerOptions) -> WordedAnswer:
        return await (await self._client()).answer(query, **options)

    async def _client(self) -> AsyncClient:
        async with self._opening:
            if self._opened is None:
                from mrag_pipeline.serving.local_api import LocalApi

                api = LocalApi(self._config)
                transport = httpx.ASGITransport(api.app)
                self._opened = api, AsyncClient(api_key="", attempts=1, transport=transport)
            return self._opened[1]

    async def _shut(self) -> None:
        if self._opened is not None:
            (api, client), self._opened = self._opened, None
            await client.close()
            await api.close()
