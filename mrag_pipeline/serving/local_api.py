"""The API in one process: model, index and routes together, without Ray."""

from __future__ import annotations

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.http.api_ports import Guard, Observer
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.parts.threads import threads_by_load, threads_for
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.wiring import answering


class LocalApi:
    """Model, index and API of a config; close it."""

    def __init__(
        self,
        config: Config,
        guard: Guard | None = None,
        observer: Observer | None = None,
        threads: int = 0,
    ) -> None:
        """Loads the model and opens the index.

        Args:
            guard, observer: None for an API that only this process reaches: no keys, no limits of
                rates, no records.
            threads: of the encoder, for one request; 0: one for each core, as in `threads_for`.
        Raises: as `wiring.encoder` and `wiring.index`.
        """
        threads = threads_for(threads)
        encoder = wiring.encoder(config, threads)
        self._index = wiring.index(config)
        self._backend = InProcessBackend(
            encoder,
            wiring.segmenter(config, encoder),
            self._index,
            config.serve,
            config.retrieve,
            answering.reranking(config),
            threads_by_load(encoder.use_threads, threads),
        )
        self._chat = answering.chat_stream(config) if config.llm.url else None
        answerer = None
        if self._chat is not None:
            answerer = Answerer(self._chat, config.serve.max_context_tokens, config.llm)
        self.app = create_api(
            self._backend,
            config.serve,
            guard or OpenGuard(),
            observer or NoObserver(),
            answerer,
            config.retrieve,
        )

    def warm_up(self) -> None:
        """Answers a question, so that the first caller does not wait for lazy initialisation."""
        self._backend.warm_up()

    async def close(self) -> None:
        """Stops the threads and closes the index."""
        if self._chat is not None:
            await self._chat.close()
        self._backend.close()
        self._index.close()
