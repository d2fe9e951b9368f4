"""The documentation of Python's standard library: modules, classes, functions, methods.

One document for each docstring, under the public module that exports it: what C
accelerators implement (`_csv.reader`) is listed where people find it (`csv.reader`), and
what several modules export is listed once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import io
import os
import pkgutil
import platform
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType

from mrag_pipeline.corpus.field_mapping import FieldMapping
from mrag_pipeline.corpus.formats.record_format import Record
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import CorpusNotFound, FingerprintMismatch

SCHEME = "pydoc:"

# Programs, tests and generated tables; modules that do something when imported, or are of
# one platform, or are of Python's own making.
_LEFT_OUT = frozenset(
    """antigravity distutils ensurepip genericpath idlelib lib2to3 msilib msvcrt nt ntpath
    nturl2path posix posixpath pydoc_data sre_compile sre_constants sre_parse test this tkinter
    turtle turtledemo winreg winsound xxlimited xxlimited_35 xxsubtype""".split()  # noqa: SIM905
)
_WITHOUT_SUBMODULES = frozenset({"encodings", "ctypes", "curses"})  # tables, one platform's
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_MAPPING = FieldMapping("id", "title", "text", ("module", "kind"))


class PythonDocs:
    """A corpus reader over the installed Python's standard library."""

    def __init__(self, uri: str, max_document_bytes: int) -> None:
        wanted = uri.removeprefix(SCHEME)
        self._wanted = tuple(sorted({name.strip() for name in wanted.split(",")} - {""}))
        self._limit = max_document_bytes

    def slices(self, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002 - a module is not cut
        """One slice for each module, sorted by name.

        Raises: CorpusNotFound for a module that is not of the standard library.
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
                    f"the documentation of Python {_stamp()}",
                    f"of Python {piece.stamp}, as planned",
                    "run all workers with one Python, or plan again",
                )
            for record in _records(piece.path):
                yield _MAPPING.document(record, self._limit)

    def describe(self) -> str:
        """Which Python, how many modules."""
        modules = self._modules()
        of = f" ({', '.join(self._wanted)})" if self._wanted else ""
        return f"documentation of Python {platform.python_version()}: {len(modules)} modules{of}"

    def _modules(self) -> list[str]:
        every = sorted(_homes())
        if not self._wanted:
            return every
        for name in self._wanted:
            if name not in every:
                near = difflib.get_close_matches(name, every, n=3)
                raise CorpusNotFound(
                    f"{SCHEME}{name}: no such public module in Python's standard library",
                    "names of modules with commas between, or nothing for all",
                    f"did you mean {', '.join(near)}?" if near else "",
                )
        return [
            name
            for name in every
            if any(name == one or name.startswith(f"{one}.") for one in self._wanted)
        ]


def _stamp() -> str:
    return f"{platform.python_version()}-{sys.platform}"


def _records(module_name: str) -> list[Record]:
    # Signatures of some functions are computed by running code of their modules.
    with _quiet():
        return list(_documents(module_name))


def _documents(module_name: str) -> Iterator[Record]:
    module = sys.modules[module_name] if module_name in _homes() else None
    if module is None:
        return
    yield from _document(module_name, module_name, "module", module.__doc__, "")
    for name in _homes()[module_name]:
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
        found = inspect.signature(thing)  # type: ignore[arg-type]
        shown = [
            one if _is_plain(one.default) else one.replace(default=_ELIDED)
            for one in found.parameters.values()
        ]
        return f"{title}{found.replace(parameters=shown)}"
    except (ValueError, TypeError, AttributeError):
        # C functions: without a signature, or with a default that is not there to evaluate
        return title


class _Elided:
    def __repr__(self) -> str:
        return "..."


_ELIDED = _Elided()


def _is_plain(default: object) -> bool:
    # Others differ by run and machine, or tell secrets: cgi.parse(environ=os.environ) does both,
    # platform.architecture(executable=...) the one.
    if isinstance(default, str):
        return len(default) == 1 or not os.path.isabs(default)
    return isinstance(default, bool | int | float | bytes | type | None) or default == ()


@cache
def _homes() -> dict[str, tuple[str, ...]]:
    """Every public module of the standard library, and the names that have their home in it."""
    with _quiet():
        modules = {name: module for name in _names() if (module := _imported(name))}
    home: dict[int, tuple[tuple[object, ...], str, str]] = {}
    for module_name, module in modules.items():
        for name, thing in _exports(module):
            rank = (*_rank(module_name, name, thing), module_name, name)
            identity = id(getattr(thing, "__func__", thing))
            if identity not in home or rank < home[identity][0]:
                home[identity] = (rank, module_name, name)
    names: dict[str, list[str]] = {module_name: [] for module_name in modules}
    for _, module_name, name in home.values():
        names[module_name].append(name)
    return {module_name: tuple(sorted(found)) for module_name, found in names.items()}


def _rank(module_name: str, name: str, thing: object) -> tuple[int, int]:
    """How good a home a module is for a thing it exports; less is better."""
    owner = getattr(thing, "__module__", None) or ""
    aliased = getattr(thing, "__name__", name) != name
    if owner == module_name or owner.startswith(f"{module_name}."):
        nearness = 0  # its own, or a package showing what its submodule has
    elif module_name == "builtins":
        nearness = 1
    elif owner.lstrip("_") == module_name:
        nearness = 2  # _csv.reader in csv
    else:
        nearness = 3
    return nearness * 2 + aliased, module_name.count(".")


def _exports(module: ModuleType) -> Iterator[tuple[str, object]]:
    public = getattr(module, "__all__", None)
    for name in sorted(set(public if public is not None else vars(module))):
        if public is None and name.startswith("_"):
            continue
        try:
            thing = getattr(module, name)
        except AttributeError:  # named in __all__, absent on this platform
            continue
        owner = getattr(thing, "__module__", None) or ""
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        if public is None and not _belongs(owner, module.__name__):
            continue  # only imported there
        yield name, thing


def _belongs(owner: str, module_name: str) -> bool:
    private = owner.rpartition(".")[2].startswith("_") or owner in ("", "posix", "posixpath")
    return private or owner == module_name or owner.startswith(f"{module_name}.")


def _names() -> Iterator[str]:
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in _LEFT_OUT:
            continue
        yield name
        module = None if name in _WITHOUT_SUBMODULES else _imported(name)
        if module is not None and hasattr(module, "__path__"):
            yield from _submodules(module)
    yield "os.path"


def _submodules(package: ModuleType) -> Iterator[str]:
    for found in pkgutil.iter_modules(package.__path__):
        if found.name.startswith("_") or found.name in ("test", "tests", "idle_test"):
            continue
        name = f"{package.__name__}.{found.name}"
        yield name
        if found.ispkg and (module := _imported(name)):
            yield from _submodules(module)


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, AttributeError):  # of another platform, or built without
        return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
