"""Arrow's values as Python's, whatever the column's type is; what Python cannot hold is marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from mrag_pipeline.corpus.record import Unreadable
from mrag_pipeline.errors import first_line

MAX_NESTED_BYTES = 4_000  # of a list or struct, on average, if it is not named: embeddings
_types = pa.types


def python_values(column: pa.Array) -> list[object]:
    """The column's values, None for null, `Unreadable` for one that Python cannot hold."""
    column = _without_nanoseconds(_decoded(column))
    try:
        values: list[object] = column.to_pylist(maps_as_pydicts="strict")
    except Exception:
        # Of any type: dates beyond the year 9999, time zones that nobody knows, text that is
        # not UTF-8. One bad value must not cost the others.
        return [_value(scalar) for scalar in column]
    return values


def is_nested(kind: pa.DataType) -> bool:
    """Whether values are lists, structs or maps."""
    return bool(_types.is_nested(_stored(kind)))


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes."""
    kind = _stored(kind)
    checks: tuple[Callable[[pa.DataType], bool], ...] = (
        _types.is_binary,
        _types.is_large_binary,
        _types.is_binary_view,
        _types.is_fixed_size_binary,
    )
    return any(check(kind) for check in checks)


def num_leaves(kind: pa.DataType) -> int:
    """How many columns of a Parquet file hold a column of this type."""
    kind = _stored(kind)
    if not _types.is_nested(kind):
        return 1
    return sum(num_leaves(kind.field(index).type) for index in range(kind.num_fields))


def _stored(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if _types.is_dictionary(kind) else kind


def _decoded(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column.dictionary_decode() if _types.is_dictionary(column.type) else column


def _without_nanoseconds(column: pa.Array) -> pa.Array:
    """Microseconds, the finest that Python's own types have; pandas would be asked for more."""
    kind = column.type
    if _types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if _types.is_time64(kind) and kind.unit == "ns":
        return column.cast(pa.time64("us"), safe=False)
    if _types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    return column


def _value(scalar: Any) -> object:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except UnicodeDecodeError:
        return Unreadable("text that is not UTF-8")
    except Exception as error:  # as above: whatever it is, it is this value's matter
        return _otherwise(scalar, error)


def _otherwise(scalar: Any, error: Exception) -> object:
    """The value in another form than was asked for."""
    kind = scalar.type
    if _types.is_timestamp(kind) and kind.tz not in (None, "UTC"):
        return _value(scalar.cast(pa.timestamp(kind.unit, "UTC")))
    try:
        return scalar.as_py()  # a map that has a key twice: its pairs
    except Exception:
        return Unreadable(f"{kind}: {first_line(error)}"[:200])
