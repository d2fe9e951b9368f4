"""Filters in the forms of other frameworks, turned into ours. Imports none of them.

In all of these forms a document without the field matches "not equal" and "not in", so both
become negations: our own `ne` matches only documents that have the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import and_, or_
from typing import Any

from mrag_pipeline.client.filters import Field, Where, field, wire_filter
from mrag_pipeline.errors import ConfigError

_COMPARISONS: dict[str, Callable[[Field, Any], Where]] = {
    "==": lambda stored, value: stored == value,
    "!=": lambda stored, value: ~(stored == value),
    ">": lambda stored, value: stored > value,
    ">=": lambda stored, value: stored >= value,
    "<": lambda stored, value: stored < value,
    "<=": lambda stored, value: stored <= value,
    "in": lambda stored, values: stored.is_in(_listed("in", values)),
    "not in": lambda stored, values: ~stored.is_in(_listed("not in", values)),
}
_DOLLAR = {
    "$eq": "==",
    "$ne": "!=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
    "$in": "in",
    "$nin": "not in",
}
_LLAMA: dict[str, Callable[[Field, Any], Where]] = {
    **_COMPARISONS,
    "nin": _COMPARISONS["not in"],
    "contains": lambda stored, value: stored.contains(value),
    "any": lambda stored, values: _any([stored.contains(v) for v in _listed("any", values)]),
    "all": lambda stored, values: _all([stored.contains(v) for v in _listed("all", values)]),
}
_HAYSTACK_JOINS: dict[str, Callable[[Sequence[Where]], Where]] = {
    "AND": lambda parts: _all(parts),
    "OR": lambda parts: _any(parts),
    "NOT": lambda parts: ~_all(parts),
}
_LLAMA_JOINS: dict[str, Callable[[Sequence[Where]], Where]] = {
    "and": lambda parts: _all(parts),
    "or": lambda parts: _any(parts),
    "not": lambda parts: ~_any(parts),
}


def from_dict(given: Any) -> Any:
    """A filter of ours as it is, or the dict that vector stores of LangChain take.

    That is `{"year": {"$gte": 2020}, "kind": "a"}`: every key must match; `$and` and `$or` join
    lists of such dicts.

    Raises: ConfigError.
    """
    if given is None or given == {}:
        return None
    if not isinstance(given, Mapping) or _is_ours(given):
        return wire_filter(given)
    return _dollar(given)


def from_haystack(given: Mapping[str, Any] | None) -> Where | None:
    """Haystack's `{"field": "meta.year", "operator": ">=", "value": 2020}`, joined by AND, OR, NOT.

    Raises: ConfigError.
    """
    if not given:
        return None
    operator = str(given.get("operator"))
    if "field" not in given:
        parts = [from_haystack(part) for part in _listed("conditions", given.get("conditions"))]
        if operator not in _HAYSTACK_JOINS or not parts or None in parts:
            raise _unknown(given, "AND, OR or NOT with a list of conditions")
        return _HAYSTACK_JOINS[operator]([part for part in parts if part is not None])
    if operator not in _COMPARISONS or "value" not in given:
        raise _unknown(given, f"a value and one of {', '.join(_COMPARISONS)}")
    name = str(given["field"])
    if name in ("id", "content", "blob", "score", "embedding", "sparse_embedding"):
        raise _unknown(given, "a field such as meta.year, meta.title or meta.document_id")
    return _COMPARISONS[operator](_field(name.removeprefix("meta.")), _value(given["value"]))


def from_llama_index(given: Any) -> Where | None:
    """LlamaIndex's `MetadataFilters`, nested ones too.

    Raises: ConfigError for operators that search in texts, and for `is_empty`.
    """
    if given is None or not given.filters:
        return None
    parts = []
    for each in given.filters:
        if hasattr(each, "filters"):
            nested = from_llama_index(each)
            parts += [] if nested is None else [nested]
        elif each.operator.value not in _LLAMA:
            raise _unknown(each, f"one of {', '.join(_LLAMA)}")
        else:
            parts.append(_LLAMA[each.operator.value](_field(each.key), _value(each.value)))
    condition = "and" if given.condition is None else given.condition.value
    return _LLAMA_JOINS[condition](parts) if parts else None


def _dollar(given: Mapping[str, Any]) -> Where:
    parts = []
    for key, value in given.items():
        if key in ("$and", "$or"):
            joined = [_dollar(part) for part in _listed(key, value)]
            parts.append(_all(joined) if key == "$and" else _any(joined))
        elif key.startswith("$"):
            raise _unknown(given, "$and, $or, or the name of a field")
        elif isinstance(value, Mapping):
            for operator, operand in value.items():
                if operator not in _DOLLAR:
                    raise _unknown({key: value}, f"one of {', '.join(_DOLLAR)}")
                parts.append(_COMPARISONS[_DOLLAR[operator]](_field(key), _value(operand)))
        else:
            parts.append(_field(key) == _value(value))
    return _all(parts)


def _is_ours(given: Mapping[str, Any]) -> bool:
    keys = set(given)
    return {"field", "op"} <= keys or (len(keys) == 1 and bool(keys & {"all", "any", "not"}))


def _field(key: str) -> Field:
    known = key in ("document_id", "title") or key.startswith("metadata.")
    return field(key if known else f"metadata.{key}")


def _value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _listed(name: str, values: Any) -> Sequence[Any]:
    if not isinstance(values, list | tuple | set | frozenset) or not values:
        raise ConfigError(f"a filter's {name} is {values!r}", "a list with something in it")
    return [_value(value) for value in values]


def _all(parts: Sequence[Where]) -> Where:
    return reduce(and_, _some(parts))


def _any(parts: Sequence[Where]) -> Where:
    return reduce(or_, _some(parts))


def _some(parts: Sequence[Where]) -> Sequence[Where]:
    if not parts:
        raise ConfigError("a filter without a condition", "at least one", "leave the filter out")
    return parts


def _unknown(given: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"the filter {given!r} cannot be translated",
        expected,
        'or a filter of mrag: {"field": "metadata.year", "op": "ge", "value": 2020}',
    )
