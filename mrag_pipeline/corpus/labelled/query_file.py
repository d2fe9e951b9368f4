"""The user's own labelled queries: JSON Lines of {text, relevant, sub_queries, kind}.

    {"text": "read a gzipped CSV over HTTP", "relevant": ["gzip.open", ["csv.reader", "csv"]]}

Each entry of `relevant` is one aspect: a document id, or a list of ids of which any counts.
`kind` is optional: reports show the kinds of questions that a file names side by side.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mrag_pipeline.corpus.labelled.text_lines import lines_of
from mrag_pipeline.domain.labelled_queries import (
    Aspect,
    LabelledQuery,
    LabelledSet,
    flaw,
    is_balanced,
)
from mrag_pipeline.errors import BrokenFile, ConfigError

_RELEVANCE = "an aspect is found when any of its documents is fetched"


class _Line(BaseModel):
    """The keys of one line; any other key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    relevant: list[str | list[str]]
    sub_queries: list[str] = []
    kind: str = ""


def read_labelled(path: Path) -> LabelledSet:
    """The queries of the file, in order; blank lines are skipped.

    Raises: CorpusNotFound; BrokenFile, which names the line and its problem.
    """
    lines = lines_of(path, "a JSON Lines file of labelled queries: check --queries")
    queries, repeated = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        query, has_repeats = _query(line, f"{path}:{number}")
        queries.append(query)
        if has_repeats:
            repeated.append(f"line {number}")
    if not queries:
        raise BrokenFile(f"{path} contains no query", "a JSON object on each line")
    flaws = flaw("queries that name an aspect twice: counted once", repeated)
    return LabelledSet(
        path.stem, tuple(queries), _RELEVANCE, flaws=flaws, by_aspects=is_balanced(queries)
    )


def write_labelled(labelled: LabelledSet, path: Path) -> None:
    """Writes the queries in the form that `read_labelled` reads; replaces a file of that name.

    Raises: ConfigError if the file cannot be written.
    """
    lines = []
    for query in labelled.queries:
        groups = [sorted(aspect.documents) for aspect in query.aspects]
        values: dict[str, object] = {
            "text": query.text,
            "relevant": [ids[0] if len(ids) == 1 else ids for ids in groups],
        }
        if query.sub_queries:
            values["sub_queries"] = list(query.sub_queries)
        if query.kind:
            values["kind"] = query.kind
        lines.append(json.dumps(values, ensure_ascii=False))
    try:
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", "a file that can be written", "name another file"
        ) from None


def _query(line: str, location: str) -> tuple[LabelledQuery, bool]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _broken(location, f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise _broken(location, f"a JSON {type(values).__name__}, expected an object")
    try:
        checked = _Line.model_validate(values)
    except ValidationError as error:
        raise _broken(location, _reason(error)) from None
    if not checked.text.strip():
        raise _broken(location, "`text` is empty")
    groups = [frozenset([ids] if isinstance(ids, str) else ids) for ids in checked.relevant]
    if not groups:
        raise _broken(location, "`relevant` is empty, expected at least one id")
    if any(not group or not all(document_id.strip() for document_id in group) for group in groups):
        raise _broken(location, "`relevant` contains an empty id or group")
    distinct = list(dict.fromkeys(groups))
    aspects = tuple(Aspect(group, " | ".join(sorted(group))) for group in distinct)
    sub_queries = tuple(text for text in checked.sub_queries if text.strip())
    query = LabelledQuery(checked.text, aspects, len(aspects), sub_queries, kind=checked.kind)
    return query, len(distinct) < len(groups)


def _reason(error: ValidationError) -> str:
    """The first problem, with the key as the file has it."""
    first = error.errors()[0]
    key, *deeper = [str(part) for part in first["loc"]]
    index = f"[{deeper[0]}]" if deeper else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}`"
    if first["type"] == "missing":
        return f"no `{key}`"
    if key == "relevant" and index:
        return f"`relevant{index}` is neither an id nor a list of ids"
    return f"`{key}{index}`: {first['msg']}"


def _broken(location: str, reason: str) -> BrokenFile:
    return BrokenFile(
        f"{location}: {reason}",
        '{"text": "...", "relevant": ["id", ["one id", "or another"]], "sub_queries": ["..."]}, '
        "sub_queries optional",
        "correct the line",
    )
