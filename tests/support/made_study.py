"""A study of heads with every part filled in, and texts that nobody should trust."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from mrag_pipeline.domain.head_study import HeadStudy
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.stages.heads.study import StudyRequest, study_heads
from tests.support.builds import RecordingProgress
from tests.support.planted_heads import INDEX, OTHER, documents, load, planted

HOSTILE = (
    '<img src="x" onerror="pwned=1"><script>pwned=1</script>',
    "</style></title></bdi>&lt;b&gt;{{7*7}}",
    "\u202eright to left\u202c \u0000\u0007 \ud7ff",
    "W" * 4000,
)


@cache
def made_study(hostile: str = "") -> HeadStudy:
    """The planted version beside one in which a head changed; hostile titles, texts and words."""
    chunks = documents()
    heads, standard = planted(chunks)
    index = ExactIndex(INDEX)
    record = load(index, chunks, heads, standard)
    changed = np.random.default_rng(8).normal(size=heads[0].shape).astype(np.float32)
    other = load(index, chunks, [changed, *heads[1:]], standard, OTHER)
    request = StudyRequest(sample=60, neighbours=5, fields=("metadata.colour",))
    study = study_heads(record, index, request, RecordingProgress(), other)
    return _spoilt(study, hostile) if hostile else study


def _spoilt(study: HeadStudy, text: str) -> HeadStudy:
    heads = []
    for head in study.heads:
        examples = tuple(
            replace(
                pair,
                chunk=replace(pair.chunk, title=text, text=text),
                neighbour=replace(pair.neighbour, title="", document_id=text, text=text),
                words=(text,),
            )
            for pair in head.examples
        )
        keeps = tuple(replace(own, word=text) for own in head.keeps)
        heads.append(replace(head, examples=examples, keeps=keeps))
    voters = tuple(
        replace(voter, hub=replace(voter.hub, title=text, document_id=text))
        for voter in study.voters
    )
    fields = tuple(replace(field, field=text) for field in study.fields)
    return replace(study, model=text, index=text, heads=tuple(heads), voters=voters, fields=fields)
