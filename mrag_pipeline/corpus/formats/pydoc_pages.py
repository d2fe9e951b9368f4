"""The documentation of Python's standard library: modules, classes, functions, methods.

One document for each docstring, under the public module that exports it: what a C accelerator
implements (`_csv.reader`) is listed where users find it (`csv.reader`), and what several modules
export is listed once.
"""

from __future__ import annotations

import difflib
import inspect
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mrag_pipeline.corpus.field_mapping import FieldMapping
from mrag_pipeline.corpus.formats.standard_library import names_by_module, quiet
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import CorpusNotFound, FingerprintMismatch
from mrag_pipeline.settings.corpus import CorpusSpec

SCHEME = "pydoc:"

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_MAPPING = FieldMapping("id", "title", "text", ("module", "kind"))


class PythonDocs:
    """A corpus reader over the standard library of the running Python."""

    def __init__(self, module_names: str, max_document_bytes: int) -> None:
        """`module_names`: separated by commas; empty selects all."""
        self._wanted = tuple(sorted({name.strip() for name in module_names.split(",")} - {""}))
        self._limit = max_document_bytes

    def slices(self, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002 - a module is not cut
        """One slice for each module, sorted by name.

        Raises: CorpusNotFound for a module that is not in the standard library.
        """
        for name in self._modules():
            num_bytes = sum(len(str(record.values["text"])) for record in _records(name))
            if num_bytes:
                yield Slice(name, "modules", 0, 1, num_bytes, _stamp())

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """The modules' documents: the module's own, then its names, sorted."""
        for piece in slices:
            if piece.stamp != _stamp():
                raise FingerprintMismatch(
                    f"this is the documentation of Python {_stamp()}",
                    f"Python {piece.stamp}, as planned",
                    "run all workers with the same Python, or plan a new version",
                )
            for record in _records(piece.path):
                yield _MAPPING.document(record, self._limit)

    def reading(self) -> dict[str, Any]:
        """Nothing: a page is a document."""
        return {}

    def left_out(self) -> Iterator[str]:
        """None: there are no files."""
        return iter(())

    def describe(self) -> str:
        """The version of Python and the number of modules."""
        modules = self._modules()
        selected = f" ({', '.join(self._wanted)})" if self._wanted else ""
        version = platform.python_version()
        return f"documentation of Python {version}: {len(modules)} modules{selected}"

    def _modules(self) -> list[str]:
        public = sorted(names_by_module())
        if not self._wanted:
            return public
        for name in self._wanted:
            if name not in public:
                near = difflib.get_close_matches(name, public, n=3)
                raise CorpusNotFound(
                    f"{SCHEME}{name}: no such public module in Python's standard library",
                    "names of modules separated by commas, or nothing for all",
                    f"did you mean {', '.join(near)}?" if near else "",
                )
        return [
            name
            for name in public
            if any(name == wanted or name.startswith(f"{wanted}.") for wanted in self._wanted)
        ]


def open_python_docs(spec: CorpusSpec) -> PythonDocs:
    """The modules that the URI names after its scheme."""
    return PythonDocs(spec.uri.partition(":")[2], spec.max_document_bytes)


def _stamp() -> str:
    return f"{platform.python_version()}-{sys.platform}"


def _records(module_name: str) -> list[Record]:
    # The signatures of some functions are computed by code of their modules.
    with quiet():
        return list(_documents(module_name))


def _documents(module_name: str) -> Iterator[Record]:
    module = sys.modules[module_name] if module_name in names_by_module() else None
    if module is None:
        return
    yield from _document(module_name, module_name, "module", module.__doc__, "")
    for name in names_by_module()[module_name]:
        thing = getattr(module, name)
        title = f"{module_name}.{name}"
        if inspect.isclass(thing):
            signature = _signature(thing, title)
            yield from _document(title, module_name, "class", _class_docstring(thing), signature)
            yield from _methods(thing, title, module_name)
        else:
            signature = _signature(thing, title)
            yield from _document(title, module_name, "function", thing.__doc__, signature)


def _class_docstring(thing: type) -> object:
    own = thing.__dict__.get("__doc__")
    constructor = thing.__dict__.get("__init__")
    return own or (constructor.__doc__ if inspect.isfunction(constructor) else None)


def _methods(owner: type, title: str, module_name: str) -> Iterator[Record]:
    seen: set[int] = set()
    for name, attribute in sorted(vars(owner).items()):
        plain = inspect.unwrap(getattr(attribute, "__func__", attribute))
        documented = inspect.isroutine(plain) or inspect.isdatadescriptor(plain)
        if name.startswith("_") or not documented or id(plain) in seen:
            continue
        seen.add(id(plain))
        path = f"{title}.{name}"
        signature = _signature(plain, path) if inspect.isroutine(plain) else path
        yield from _document(path, module_name, "method", plain.__doc__, signature)


def _document(
    title: str, module_name: str, kind: str, docstring: object, signature: str
) -> Iterator[Record]:
    if not isinstance(docstring, str) or not docstring.strip():
        return
    text = _ADDRESS.sub("", f"{signature}\n\n{inspect.cleandoc(docstring)}".strip())
    values = {"id": title, "title": title, "text": text, "module": module_name, "kind": kind}
    yield Record(values, f"{SCHEME}{title}")


def _signature(thing: object, title: str) -> str:
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
        parameters = [
            parameter if _is_plain(parameter.default) else parameter.replace(default=_ELIDED)
            for parameter in signature.parameters.values()
        ]
        return f"{title}{signature.replace(parameters=parameters)}"
    except (ValueError, TypeError, AttributeError):
        # C functions without a signature, or with a default that cannot be evaluated.
        return title


class _Elided:
    def __repr__(self) -> str:
        return "..."


_ELIDED = _Elided()


def _is_plain(default: object) -> bool:
    # Other defaults differ between runs and machines, or reveal secrets:
    # cgi.parse(environ=os.environ) does both, platform.architecture(executable=...) the first.
    if isinstance(default, str):
        return len(default) == 1 or not os.path.isabs(default)
    return isinstance(default, bool | int | float | bytes | type | None) or default == ()
