"""`/v1/search` and `/v1/search/batch`."""

# No `from __future__ import annotations`: FastAPI reads these, and they name the guard.

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http import wire_format
from mrag_pipeline.serving.http.api_ports import Caller, Guard, Observer
from mrag_pipeline.serving.http.disconnects import unless_left
from mrag_pipeline.serving.http.json_body import body_of
from mrag_pipeline.serving.http.json_response import json_of
from mrag_pipeline.serving.http.openapi import ALWAYS, problems, takes
from mrag_pipeline.serving.security.admission import Admission
from mrag_pipeline.wire.schemas import BatchAnswer, BatchBody, SearchAnswer, SearchBody

RESPONSES = problems(400, 403, 408, 413, 415, 422, 501, 502, 504, *ALWAYS)


def search_router(
    backend: Backend, admission: Admission, guard: Guard, observer: Observer
) -> APIRouter:
    """The routes over a backend."""
    router = APIRouter(prefix="/v1", tags=["search"])

    @router.post(
        "/search",
        summary="Documents that answer a question of several aspects",
        response_model=SearchAnswer,
        responses=RESPONSES,
        openapi_extra=takes(SearchBody),
    )
    async def search(
        request: Request,
        caller: Annotated[Caller, Depends(guard)],
        body: Annotated[SearchBody, Depends(body_of(SearchBody))],
    ) -> Response:
        """Searches every aspect of the query in every head's space; heads and windows vote."""
        began = time.perf_counter()
        seconds = admission.seconds(body.timeout_s)
        asks = [admission.ask(body, caller)]
        answers = await unless_left(request, backend.answer(asks, seconds), seconds)
        observer.answered(request, answers, asks)
        total = time.perf_counter() - began
        return json_of(wire_format.search_answer(answers[0], body.explain, total))

    @router.post(
        "/search/batch",
        summary="Several questions at once",
        response_model=BatchAnswer,
        responses=RESPONSES,
        openapi_extra=takes(BatchBody),
    )
    async def batch(
        request: Request,
        caller: Annotated[Caller, Depends(guard)],
        body: Annotated[BatchBody, Depends(body_of(BatchBody))],
    ) -> Response:
        """Answers all from one version; the shortest `timeout_s` applies to all."""
        began = time.perf_counter()
        searches = body.searches
        admission.check_batch(len(searches))
        guard.spend(caller, len(searches) - 1)
        asks = [admission.ask(search_body, caller) for search_body in searches]
        seconds = min(admission.seconds(search_body.timeout_s) for search_body in searches)
        answers = await unless_left(request, backend.answer(asks, seconds), seconds)
        observer.answered(request, answers, asks)
        total = time.perf_counter() - began
        sent = [
            wire_format.search_answer(answer, search_body.explain, total)
            for search_body, answer in zip(searches, answers, strict=True)
        ]
        return json_of(BatchAnswer.model_construct(answers=sent))

    return router
