"""Which columns of files that hold only text are numbers, or true and false: all or none of them.

Empty cells say nothing. A column whose values are all written as numbers is one of numbers;
007 and +49 are not written so, and stay text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from mrag_pipeline.corpus.metadata_values import boolean_of, number_of
from mrag_pipeline.settings.corpus import FieldType


def column_types(
    records: Iterable[Mapping[str, object]], without: Collection[str] = ()
) -> dict[str, FieldType]:
    """The type of each column that has one in all records; every record is read.

    Args:
        without: columns that are not asked about, such as the text.
    """
    possible: dict[str, set[FieldType]] = {}  # of the columns with a value
    for values in records:
        for name, value in values.items():
            if name in without or not isinstance(value, str) or not (text := value.strip()):
                continue
            kinds = possible.setdefault(name, {"number", "boolean"})
            if "number" in kinds and number_of(text) is None:
                kinds.discard("number")
            if "boolean" in kinds and boolean_of(text) is None:
                kinds.discard("boolean")
    return {name: next(iter(kinds)) for name, kinds in possible.items() if kinds}
