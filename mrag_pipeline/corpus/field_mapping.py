"""Turns records into documents: which field is the id, the title, the text and the metadata."""

from __future__ import annotations

import datetime
import decimal
import difflib
import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mrag_pipeline.corpus.record import Record, rejected, repaired
from mrag_pipeline.domain.documents import (
    DeadLetter,
    Document,
    Metadata,
    MetadataValue,
    document_fingerprint,
)
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.corpus import ALL_FIELDS, MAX_INFERRED_CHARS, CorpusSpec

IDS = ("id", "_id", "doc_id", "docid", "document_id", "uuid", "guid", "pk", "key", "url", "uri")
TITLES = ("title", "name", "headline", "heading", "subject", "page_title")
TEXTS = ("text", "content", "contents", "body", "article", "document", "passage", "abstract",
         "description", "summary", "page_content", "raw_content", "markdown")  # fmt: skip

# Well below what stores hold: 65,535 bytes of a string, 65,536 of a JSON value.
MAX_ID_BYTES = 512
MAX_TITLE_CHARS = 1_000
MAX_METADATA_BYTES = 32_000


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Which field of a record holds what; an empty name if none does."""

    id: str
    title: str
    text: str
    metadata: tuple[str, ...]
    inferred: frozenset[str] = frozenset()  # of "id", "title", "text"

    def __str__(self) -> str:
        parts = [
            f"{role} <- {name!r}" + (" (inferred)" if role in self.inferred else "")
            for role, name in (("id", self.id), ("title", self.title), ("text", self.text))
            if name
        ]
        if not self.id:
            parts.insert(0, "id <- hash of the record (no id field)")
        if self.metadata == ALL_FIELDS:
            parts.append("metadata <- all other short values")
        elif self.metadata:
            parts.append(f"metadata <- {', '.join(self.metadata)}")
        return ", ".join(parts)

    def document(self, record: Record, max_bytes: int) -> Document | DeadLetter:
        """The document in a record, or a dead letter that says why it has none."""
        values = record.values
        text = values.get(self.text)
        document_id = self._id(values)
        if isinstance(document_id, _Problem):
            return rejected(record.source, document_id, _bytes_of(text))
        problem = self._text_problem(text, values, max_bytes)
        if problem:
            return rejected(record.source, problem, _bytes_of(text), document_id)
        assert isinstance(text, str)
        title = _short(values.get(self.title)) if self.title else ""
        metadata = self._metadata(values)
        num_bytes = len(json.dumps(dict(metadata), ensure_ascii=False).encode())
        if num_bytes > MAX_METADATA_BYTES:
            reason = f"{num_bytes:,} bytes of metadata, expected at most {MAX_METADATA_BYTES:,}"
            return rejected(record.source, reason, _bytes_of(text), document_id)
        document = Document(document_id, repaired(text), title, metadata, record.source)
        if not self.id:
            document = replace(document, id=document_fingerprint(document))
        return document

    def _id(self, values: Mapping[str, object]) -> str | _Problem:
        if not self.id:
            return ""
        value = values.get(self.id)
        plain = value if isinstance(value, str) else scalar(value)
        if isinstance(plain, float) and plain.is_integer():
            plain = int(plain)  # pandas writes 17 as 17.0 in a column with missing values
        if plain is None or isinstance(plain, bool):
            kind = "null or missing" if value is None else f"of type {type(value).__name__}"
            return _Problem(f"the id ({self.id!r}) is {kind}, expected a string or a number")
        name = str(plain).strip()
        if not name:
            return _Problem(f"the id ({self.id!r}) is empty")
        if repaired(name) != name:
            return _Problem(f"the id ({self.id!r}) contains a NUL or half a surrogate pair")
        if len(name.encode()) > MAX_ID_BYTES:
            return _Problem(f"the id ({self.id!r}) is longer than {MAX_ID_BYTES} bytes")
        return name

    def _text_problem(self, text: object, values: Mapping[str, object], max_bytes: int) -> str:
        if self.text not in values:
            fields = ", ".join(sorted(map(str, values))[:20])
            return f"no field {self.text!r}, found: {fields or 'none'}"
        if text is None:
            return f"the text ({self.text!r}) is null"
        if not isinstance(text, str):
            return f"the text ({self.text!r}) is of type {type(text).__name__}, expected a string"
        if not _VISIBLE.search(text):
            return f"the text ({self.text!r}) is empty"
        num_bytes = len(text.encode("utf-8", "surrogatepass")) if 4 * len(text) > max_bytes else 0
        if num_bytes > max_bytes:
            return f"the text has {num_bytes:,} bytes, expected at most {max_bytes:,}"
        return ""

    def _metadata(self, values: Mapping[str, object]) -> Metadata:
        takes_all = self.metadata == ALL_FIELDS
        metadata: dict[str, MetadataValue] = {}
        for name in values if takes_all else self.metadata:
            if takes_all and name in (self.id, self.title, self.text):
                continue
            value = scalar(values.get(name))
            if value is None and not takes_all and isinstance(values.get(name), list | dict):
                value = repaired(json.dumps(values[name], default=str, ensure_ascii=False))
            if value is None or (
                takes_all and isinstance(value, str) and len(value) > MAX_INFERRED_CHARS
            ):
                continue
            metadata[repaired(name)] = value
        return metadata


class _Problem(str):
    """Why a record has no usable id."""

    __slots__ = ()


_VISIBLE = re.compile(r"[^\s\x00\u200b\ufeff]")


def resolve(
    spec: CorpusSpec, samples: Sequence[Mapping[str, object]], file_name: str, fixed_fields: bool
) -> FieldMapping:
    """The fields that the spec names, the others inferred from a file's first records.

    Args:
        samples: records of the file; without any, no name is checked.
        file_name: as messages show it.
        fixed_fields: whether every record has the fields of the first.
    Raises:
        ConfigError: a named field does not exist, or no field looks like the text.
    """
    fields = list(dict.fromkeys(name for record in samples for name in record))
    inferred = set()
    names = {"id": spec.id_field, "title": spec.title_field, "text": spec.text_field}
    if samples:
        for role, name in names.items():
            _check(name, f"{role}_field", fields, file_name)
        if fixed_fields and spec.metadata_fields != ALL_FIELDS:
            for name in spec.metadata_fields:
                _check(name, "metadata_fields", fields, file_name)
    if not names["text"]:
        names["text"] = _infer_text(fields, samples, file_name, set(names.values()))
        inferred.add("text")
    free = [name for name in fields if name not in names.values()]
    if not names["title"]:
        names["title"] = next(iter(_usual(free, TITLES)), "")
        inferred.add("title")
    if not names["id"]:
        names["id"] = next((name for name in _usual(free, IDS) if _is_key(name, samples)), "")
        inferred.add("id")
    return FieldMapping(
        names["id"], names["title"], names["text"], spec.metadata_fields, frozenset(inferred)
    )


def scalar(value: object) -> MetadataValue | None:
    """A value as metadata holds it; None for null, NaN, bytes and nested values."""
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | datetime.timedelta):
        return str(value)
    return None


def _check(name: str, setting: str, fields: Sequence[str], file_name: str) -> None:
    if not name or name in fields:
        return
    near = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
    near = near or [field for field in fields if field.lower() == name.lower()]
    raise ConfigError(
        f"{file_name} has no field {name!r} ({setting})",
        f"one of: {_listed(fields)}",
        f"did you mean {near[0]!r}?" if near else f"set {setting} to one of them",
    )


def _infer_text(
    fields: Sequence[str],
    samples: Sequence[Mapping[str, object]],
    file_name: str,
    taken: set[str],
) -> str:
    if not samples:
        return TEXTS[0]
    strings = [
        name
        for name in fields
        if name not in taken and any(isinstance(record.get(name), str) for record in samples)
    ]
    usual = _usual(strings, TEXTS)
    if usual:
        return usual[0]
    others = [
        name for name in strings if name not in {*_usual(strings, IDS), *_usual(strings, TITLES)}
    ]
    if len(others) == 1:
        return others[0]
    raise ConfigError(
        f"{file_name}: the text field cannot be inferred from: {_listed(fields)}",
        f"a field with one of the usual names: {', '.join(TEXTS[:6])}, ...",
        "set `corpus.text_field`",
    )


def _usual(fields: Iterable[str], names: Sequence[str]) -> list[str]:
    by_lower = {name.lower(): name for name in reversed(list(fields))}
    return [by_lower[name] for name in names if name in by_lower]


def _is_key(name: str, samples: Sequence[Mapping[str, object]]) -> bool:
    values = [scalar(record.get(name)) for record in samples]
    return None not in values and len(set(map(str, values))) == len(values)


def _listed(fields: Sequence[str]) -> str:
    shown = ", ".join(map(str, fields[:20]))
    return shown + (", ..." if len(fields) > 20 else "") if fields else "none"


def _short(value: object) -> str:
    plain = scalar(value)
    return "" if plain is None else " ".join(str(plain).split())[:MAX_TITLE_CHARS]


def _bytes_of(text: object) -> bytes:
    return text.encode("utf-8", "replace") if isinstance(text, str) else b""
