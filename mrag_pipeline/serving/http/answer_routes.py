"""`/v1/answer`: a chat model answers from the passages found, whole or as server-sent events."""

# No `from __future__ import annotations`: FastAPI reads these, and they name the guard.

import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel

from mrag_pipeline.errors import NotConfigured
from mrag_pipeline.serving import answering
from mrag_pipeline.serving.answering import Answerer, Prompt
from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http import wire_format
from mrag_pipeline.serving.http.api_ports import Caller, Guard, Observer
from mrag_pipeline.serving.http.disconnects import EventStream, unless_left
from mrag_pipeline.serving.http.json_body import body_of
from mrag_pipeline.serving.http.json_response import json_of
from mrag_pipeline.serving.http.openapi import ALWAYS, ANSWER_EVENT, ANSWER_EVENTS, problems, takes
from mrag_pipeline.serving.http.problems import reported
from mrag_pipeline.serving.security.admission import Admission
from mrag_pipeline.wire.printable import printable
from mrag_pipeline.wire.schemas import (
    AnswerBody,
    AnswerEnd,
    SearchAnswer,
    TextPiece,
    WordedAnswer,
)

_BREAKS = re.compile("[\x85\u2028\u2029]")
RESPONSES = problems(400, 403, 408, 413, 415, 422, 501, 502, 504, *ALWAYS) | {
    200: {
        "description": "The answer; as events if `stream` is true",
        "content": {"text/event-stream": {"schema": ANSWER_EVENT, "example": ANSWER_EVENTS}},
    }
}


def answer_router(
    backend: Backend,
    admission: Admission,
    guard: Guard,
    observer: Observer,
    answerer: Answerer | None,
) -> APIRouter:
    """The route over a backend; without an answerer it responds that none is configured."""
    router = APIRouter(prefix="/v1", tags=["answer"])

    @router.post(
        "/answer",
        summary="An answer in words, with its sources",
        response_model=WordedAnswer,
        responses=RESPONSES,
        openapi_extra=takes(AnswerBody),
    )
    async def answer(
        request: Request,
        caller: Annotated[Caller, Depends(guard)],
        body: Annotated[AnswerBody, Depends(body_of(AnswerBody))],
    ) -> Response:
        """Gives the passages found, up to a token budget, to the chat model, which cites them.

        Events, if streamed: `search` (a SearchAnswer), any number of `text` (a TextPiece), then
        `done` (an AnswerEnd) or `error` (a Problem).
        """
        began = time.perf_counter()
        asks = [admission.ask(body, caller)]
        if answerer is None:
            raise NotConfigured(
                "this service has no chat model",
                "an OpenAI-compatible endpoint",
                "set llm.url and llm.model in the config; /v1/search needs none",
            )
        budget = answerer.budget(body.max_context_tokens)
        seconds = admission.seconds(body.timeout_s)

        async def searched() -> tuple[SearchAnswer, Prompt]:
            answers = await backend.answer(asks, seconds)
            observer.answered(request, answers, asks)
            search = wire_format.search_answer(
                answers[0], body.explain, time.perf_counter() - began
            )
            counts = await backend.count_tokens(answering.passages(search.hits))
            return search, answering.prompt(
                body.query, search.hits, counts, budget, search.aspects, answerer.spec
            )

        # The search ends before the first event, so that its errors have a status of their own.
        search, prompt = await unless_left(request, searched(), seconds)
        seconds_left = answerer.chat.timeout_s
        if body.timeout_s is not None:
            seconds_left = min(
                seconds_left, max(0.0, body.timeout_s - (time.perf_counter() - began))
            )
        if not body.stream:
            text = await unless_left(request, answerer.whole(prompt, seconds_left), seconds_left)
            values = {**_end(text, prompt, answerer), "search": search}
            return json_of(WordedAnswer.model_construct(**values))

        async def events() -> AsyncIterator[str]:
            yield _event("search", search)
            pieces = []
            try:
                async for piece in answerer.pieces(prompt, seconds_left):
                    pieces.append(piece)
                    yield _event("text", TextPiece(text=printable(piece)))
            except Exception as error:  # the status is sent: only an event can tell it
                yield _event("error", reported(error, request.scope))
                return
            end = _end("".join(pieces), prompt, answerer)
            yield _event("done", AnswerEnd.model_construct(**end))

        return EventStream(events())

    return router


def _end(text: str, prompt: Prompt, answerer: Answerer) -> dict[str, Any]:
    return {
        "answer": printable(text),
        "citations": list(prompt.citations),
        "unsourced": list(prompt.unsourced),
        "model": answerer.chat.model,
        "prompt_tokens": prompt.num_tokens,
    }


def _event(name: str, data: BaseModel) -> str:
    """One server-sent event; escapes the characters at which some readers would break the line."""
    return f"event: {name}\ndata: {_BREAKS.sub(_escaped, data.model_dump_json())}\n\n"


def _escaped(character: re.Match[str]) -> str:
    return f"\\u{ord(character[0]):04x}"
