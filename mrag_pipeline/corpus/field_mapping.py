"""Turns records into documents, once it is chosen which field is the id, the title and the text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mrag_pipeline.corpus.metadata_values import Converted, converted, scalar
from mrag_pipeline.corpus.record import Record, Unreadable, rejected, repaired
from mrag_pipeline.domain.documents import (
    DeadLetter,
    Document,
    Metadata,
    MetadataValue,
    document_fingerprint,
)
from mrag_pipeline.domain.visible_text import is_visible_text
from mrag_pipeline.settings.corpus import ALL_FIELDS, MAX_INFERRED_CHARS, FieldType

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
    types: Mapping[str, FieldType] = field(default_factory=dict)  # of metadata fields
    # As older versions were read: no lists and objects, or as JSON text if they are named.
    is_flat: bool = False

    @property
    def fields(self) -> frozenset[str] | None:
        """The fields that are read; None for all."""
        if self.metadata == ALL_FIELDS:
            return None
        return frozenset(filter(None, (self.id, self.title, self.text, *self.metadata)))

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
        values = self._decoded(record.values)
        text = values.get(self.text)
        document_id = self._id(values)
        if isinstance(document_id, _Problem):
            return rejected(record.source, document_id, _bytes_of(text))
        problem = self._text_problem(text, values, max_bytes)
        if problem:
            return rejected(record.source, problem, _bytes_of(text), document_id)
        assert isinstance(text, str)
        title, of_title = self._title(values)
        metadata, of_metadata = self._metadata(values)
        num_bytes = len(json.dumps(dict(metadata), ensure_ascii=False).encode())
        if num_bytes > MAX_METADATA_BYTES:
            reason = f"{num_bytes:,} bytes of metadata, expected at most {MAX_METADATA_BYTES:,}"
            return rejected(record.source, reason, _bytes_of(text), document_id)
        remarks = (*record.remarks, *of_title, *of_metadata)
        document = Document(document_id, repaired(text), title, metadata, record.source, remarks)
        if not self.id:
            document = replace(document, id=document_fingerprint(document))
        return document

    def document_id(self, values: Mapping[str, object]) -> str:
        """The id that a record's document would have; "" if it can have none."""
        name = self._id(values)
        return "" if isinstance(name, _Problem) else name

    def _id(self, values: Mapping[str, object]) -> str | _Problem:
        if not self.id:
            return ""
        value = values.get(self.id)
        if isinstance(value, Unreadable):
            return _Problem(f"the id ({self.id!r}) cannot be read: {value.reason}")
        plain = value if isinstance(value, str) else scalar(value)
        if isinstance(plain, float) and plain.is_integer():
            plain = int(plain)  # pandas writes 17 as 17.0 in a column with missing values
        if plain is None or isinstance(plain, bool):
            kind = "null or missing" if value is None else f"of type {type(value).__name__}"
            kind = f"{value}" if isinstance(value, float) else kind
            return _Problem(f"the id ({self.id!r}) is {kind}, expected a string or a number")
        name = str(plain).strip()
        if not name:
            return _Problem(f"the id ({self.id!r}) is empty")
        if repaired(name) != name:
            return _Problem(f"the id ({self.id!r}) contains a NUL or half a surrogate pair")
        if len(name.encode()) > MAX_ID_BYTES:
            return _Problem(f"the id ({self.id!r}) is longer than {MAX_ID_BYTES} bytes")
        return name

    def _decoded(self, values: Mapping[str, object]) -> Mapping[str, object]:
        """The values, with bytes of id, title and text as the UTF-8 that they may be.

        Parquet files of older tools do not say that their strings are some.
        """
        roles = (self.id, self.title, self.text)
        if not any(isinstance(values.get(name), bytes) for name in roles):
            return values
        return {**values, **{name: utf8_of(values[name]) for name in roles if name in values}}

    def _title(self, values: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
        """The title, and a remark if it is not as it was."""
        value = values.get(self.title) if self.title else None
        plain = scalar(value)
        if plain is None:
            kept = converted(value, None, None)
            remark = kept.remark or f"of type {type(value).__name__}: left out"
            return "", () if value is None else (f"title {self.title!r}: {remark}",)
        title = " ".join(str(plain).split())
        remark = f"title {self.title!r}: longer than {MAX_TITLE_CHARS:,} characters: cut"
        return title[:MAX_TITLE_CHARS], () if len(title) <= MAX_TITLE_CHARS else (remark,)

    def _text_problem(self, text: object, values: Mapping[str, object], max_bytes: int) -> str:
        if self.text not in values:
            fields = ", ".join(sorted(map(str, values))[:20])
            return f"no field {self.text!r}, found: {fields or 'none'}"
        if text is None:
            return f"the text ({self.text!r}) is null"
        if isinstance(text, Unreadable):
            return f"the text ({self.text!r}) cannot be read: {text.reason}"
        if not isinstance(text, str):
            return f"the text ({self.text!r}) is of type {type(text).__name__}, expected a string"
        if not is_visible_text(text):
            return f"the text ({self.text!r}) is empty"
        num_bytes = len(text.encode("utf-8", "surrogatepass")) if 4 * len(text) > max_bytes else 0
        if num_bytes > max_bytes:
            return f"the text has {num_bytes:,} bytes, expected at most {max_bytes:,}"
        return ""

    def _metadata(self, values: Mapping[str, object]) -> tuple[Metadata, tuple[str, ...]]:
        """The metadata, and a remark for each value that is not in it as it was."""
        takes_all = self.metadata == ALL_FIELDS
        max_chars = MAX_INFERRED_CHARS if takes_all else None
        metadata: dict[str, MetadataValue] = {}
        remarks = []
        for name in values if takes_all else self.metadata:
            if takes_all and name in (self.id, self.title, self.text):
                continue
            kept = self._converted(name, values.get(name), max_chars)
            if kept.value is not None:
                metadata[repaired(name)] = kept.value
            if kept.remark:
                remarks.append(f"metadata {name[:_MAX_NAME_CHARS]!r}: {kept.remark}")
        return metadata, tuple(remarks)

    def _converted(self, name: str, value: object, max_chars: int | None) -> Converted:
        if not self.is_flat:
            return converted(value, self.types.get(name), max_chars)
        if isinstance(value, list | dict):
            if max_chars is not None:
                return Converted(None, "a list or an object: left out, as when the index was built")
            return Converted(repaired(json.dumps(value, default=str, ensure_ascii=False)))
        plain = scalar(value)
        return converted(value if plain is None else plain, None, max_chars)


_MAX_NAME_CHARS = 60


class _Problem(str):
    """Why a record has no usable id."""

    __slots__ = ()


def utf8_of(value: object) -> object:
    """The text that bytes are in UTF-8; any other value as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _bytes_of(text: object) -> bytes:
    return text.encode("utf-8", "replace") if isinstance(text, str) else b""
