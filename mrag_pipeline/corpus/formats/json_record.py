"""One JSON object, from the bytes of a line or of a piece of an array."""

from __future__ import annotations

import json
import re

from mrag_pipeline.corpus.formats.charset import NotText, decoded_record
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.domain.documents import DeadLetter

_BEGINNING = re.compile(r'\{\s*("[^"]{0,100}")\s*:(?!\s*[\[{])')
_MAX_DIGITS = 4_000  # of an integer that Python turns into a number


def json_record(
    data: bytes,
    encoding: str,
    source: str,
    place: str = "",
    expected: str = "an object",
    first_name: bytes = b"",
) -> Record | DeadLetter:
    """The record, or a dead letter that says why there is none.

    Of two values under one name the last counts, and a remark says so.

    Args:
        encoding: of the settings; "" if they name none.
        source: where the record is, for people; place: where within the source, or "".
        expected: what should stand there, for messages.
        first_name: of the file's first object, by which others are recognised; b"" if unknown.
    """
    repeated: list[str] = []

    def as_dict(pairs: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(name for name in values if names.count(name) > 1)
        return values

    try:
        text = decoded_record(data, encoding)
        values = json.loads(text, object_pairs_hook=as_dict, parse_int=_integer)
    except NotText as error:
        reason = str(error)
    except RecursionError:
        reason = "too many lists or objects in each other, hundreds can be read"
    except ValueError as error:
        reason = f"not JSON: {error}"
    else:
        if isinstance(values, dict):
            told = dict.fromkeys(repeated)
            remarks = (f"field {name[:60]!r} stands twice: the last one counts" for name in told)
            return Record(values, source, tuple(remarks))
        reason = f"a JSON {_KINDS.get(type(values), 'number')}, expected {expected}"
        return rejected(source, _placed(reason, place), data)
    number = num_objects(data, first_name)
    return rejected(source, _placed(reason, place), data, num_documents=number)


def first_name(text: str) -> bytes:
    """The name, in its quotes, that the first object of a JSON text begins with; b"" without one.

    Of an object that holds the records, the name that the first of them begins with.
    """
    found = _BEGINNING.search(text)
    return found[1].encode("utf-8", "replace") if found else b""


def num_objects(data: bytes, first_name: bytes) -> int:
    """How many records seem to stand in bytes that are no JSON: a quote left open takes in others.

    The first, and those objects after another that begin with the name given.
    """
    if not first_name:
        return 1
    return 1 + len(re.findall(rb"\}\s*,?\s*\{\s*" + re.escape(first_name), data))


def _placed(reason: str, place: str) -> str:
    return f"{reason} ({place})" if place else reason


_KINDS = {list: "array", str: "string", bool: "boolean", type(None): "null"}


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits
