"""Chooses which field of a corpus's records is the id, the title and the text.

The id is chosen once for the whole corpus and kept with the version: a choice for each file, or at
each run, would name the same documents in two ways. Title and text are those of the corpus where a
file has them, else the file's own.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from mrag_pipeline.corpus.field_mapping import IDS, TEXTS, TITLES, FieldMapping, utf8_of
from mrag_pipeline.corpus.metadata_values import scalar
from mrag_pipeline.errors import ConfigError, FingerprintMismatch
from mrag_pipeline.settings.corpus import ALL_FIELDS, CorpusSpec, FieldType


@dataclass(frozen=True, slots=True)
class FieldChoice:
    """What was chosen from a corpus's first records, for all of them; "" where none is."""

    id: str | None  # None: chosen anew for each file, as for versions that kept no choice
    title: str = ""
    text: str = ""
    types: Mapping[str, FieldType] = field(default_factory=dict)  # of metadata fields

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The choice that `to_dict` made plain; {} is that of a version that kept none."""
        names = {name: str(values.get(name, "")) for name in ("title", "text")}
        return cls(values.get("id"), types=dict(values.get("types", {})), **names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        plain = {"id": self.id, "title": self.title, "text": self.text}
        return plain | {"types": dict(self.types)}

    def check(self, spec: CorpusSpec) -> None:
        """Refuses settings that would name the version's documents by another field.

        Raises: FingerprintMismatch.
        """
        if self.id is not None and spec.id_field not in ("", self.id):
            own = f"{self.id!r}" if self.id else "their content (no id field)"
            raise FingerprintMismatch(
                f"corpus.id_field = {spec.id_field!r}; the version names its documents by {own}",
                "the same ids: every document would be a new one",
                "remove corpus.id_field, or run `mrag ingest`: it builds a new version",
            )


def choose(
    spec: CorpusSpec, samples: Sequence[Mapping[str, object]], file_name: str, fixed_fields: bool
) -> FieldChoice:
    """The choice for a corpus, from the first records of one of its files.

    Raises: as `resolve`.
    """
    mapping = resolve(spec, samples, file_name, fixed_fields, None)
    return FieldChoice(mapping.id, mapping.title, mapping.text, spec.types)


def resolve(
    spec: CorpusSpec,
    samples: Sequence[Mapping[str, object]],
    file_name: str,
    fixed_fields: bool,
    choice: FieldChoice | None,
) -> FieldMapping:
    """A file's field mapping: the fields that the spec names, the corpus's, or the usual ones.

    Args:
        samples: first records of the file; without any, no name is checked.
        file_name: as messages show it.
        fixed_fields: whether every record has the fields of the first.
        choice: of the corpus; None if it is to be made.
    Raises:
        ConfigError: a named field does not exist, or no field looks like the text.
    """
    fields = list(dict.fromkeys(name for record in samples for name in record))
    names = {"id": spec.id_field, "title": spec.title_field, "text": spec.text_field}
    if samples:
        _check_names(spec, names, fields, file_name, fixed_fields)
    inferred = frozenset(role for role, name in names.items() if not name)
    if choice is not None:
        names["id"] = names["id"] or choice.id or ""
        for role, chosen in (("title", choice.title), ("text", choice.text)):
            if chosen in fields or not samples:
                names[role] = names[role] or chosen
    names["text"] = names["text"] or _infer_text(fields, samples, file_name, set(names.values()))
    free = [name for name in fields if name not in names.values()]
    names["title"] = names["title"] or next(iter(_usual(free, TITLES)), "")
    is_flat = choice is not None and choice.id is None
    if not names["id"] and (choice is None or choice.id is None):
        is_id = _names_all if is_flat else _names_most
        names["id"] = next((name for name in _usual(free, IDS) if is_id(name, samples)), "")
    types = spec.types if choice is None else {**choice.types, **spec.types}
    return FieldMapping(
        names["id"],
        names["title"],
        names["text"],
        spec.metadata_fields,
        inferred,
        types,
        is_flat,
    )


def _check_names(
    spec: CorpusSpec,
    names: Mapping[str, str],
    fields: Sequence[str],
    file_name: str,
    fixed_fields: bool,
) -> None:
    for role, name in names.items():
        _check(name, f"{role}_field", fields, file_name)
    if fixed_fields:
        named = () if spec.metadata_fields == ALL_FIELDS else spec.metadata_fields
        for setting, of_setting in (("metadata_fields", named), ("types", spec.types)):
            for name in of_setting:
                _check(name, setting, fields, file_name)


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
        if name not in taken
        and any(isinstance(utf8_of(record.get(name)), str) for record in samples)
    ]
    usual = _usual(strings, TEXTS)
    if usual:
        return usual[0]
    others = [
        name for name in strings if name not in {*_usual(strings, IDS), *_usual(strings, TITLES)}
    ]
    if len(others) == 1:
        return others[0]
    kinds = {name: _kind(record.get(name)) for record in reversed(samples) for name in record}
    found = [f"{name} ({kinds[name]})" if kinds[name] else name for name in fields]
    raise ConfigError(
        f"{file_name}: the text field cannot be inferred from: {_listed(found)}",
        f"strings in a field with one of the usual names: {', '.join(TEXTS[:6])}, ...",
        _way_to_records(samples) or "set `corpus.text_field`",
    )


def _kind(value: object) -> str:
    """What a value is that cannot be the text; "" for a string."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "" if isinstance(value, str) or value is None else "no string"


def _way_to_records(samples: Sequence[Mapping[str, object]]) -> str:
    """How to make records of one object that holds them; "" if it does not seem to."""
    values = samples[0] if len(samples) == 1 else {}
    path = _path_to_records(values, "")
    if path:
        return f"write the objects as lines first: jq -c '{path}[]' in.json > out.jsonl"
    objects = [value for value in values.values() if isinstance(value, Mapping)]
    if not objects or len(objects) < len(values):
        return ""
    if not any(isinstance(value, str) for value in objects[0].values()) or objects[0].keys() <= {
        *map(str, range(len(objects[0])))
    }:
        return 'write records instead of columns: DataFrame.to_json(orient="records", lines=True)'
    way = "to_entries[] | {id: .key} + .value"
    return f"write the objects as lines first: jq -c '{way}' in.json > out.jsonl"


def _path_to_records(values: Mapping[str, object], above: str) -> str:
    """Where in an object an array of objects lies, as jq names it; "" if there is none."""
    if above.count(".") > _MAX_LEVELS:
        return ""
    for name, value in values.items():
        path = f"{above}.{name}" if name.isidentifier() else f"{above}.[{json.dumps(name)}]"
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            return path
        below = _path_to_records(value, path) if isinstance(value, Mapping) else ""
        if below:
            return below
    return ""


_MAX_LEVELS = 5  # of objects that are searched for records


def _usual(fields: Iterable[str], names: Sequence[str]) -> list[str]:
    by_lower = {name.strip().lower(): name for name in reversed(list(fields))}
    return [by_lower[name] for name in names if name in by_lower]


def _names_most(name: str, samples: Sequence[Mapping[str, object]]) -> bool:
    """Whether a field's values name more than half of the records, each another one.

    The few without a value, or with an earlier one's, are set aside when they are read.
    """
    found = (scalar(utf8_of(record.get(name))) for record in samples)
    values = {str(value) for value in found if value is not None}
    return 2 * len(values) > len(samples)


def _names_all(name: str, samples: Sequence[Mapping[str, object]]) -> bool:
    values = [scalar(record.get(name)) for record in samples]
    return None not in values and len(set(map(str, values))) == len(values)


def _listed(fields: Sequence[str]) -> str:
    shown = ", ".join(map(str, fields[:20]))
    return shown + (", ..." if len(fields) > 20 else "") if fields else "none"
