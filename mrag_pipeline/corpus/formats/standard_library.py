"""Python's standard library: its public modules, and the one home of each name they export."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType

# Programs, tests and generated tables; modules with side effects when imported, for one
# platform only, or internal to Python.
_LEFT_OUT = frozenset(
    """antigravity distutils ensurepip genericpath idlelib lib2to3 msilib msvcrt nt ntpath
    nturl2path posix posixpath pydoc_data sre_compile sre_constants sre_parse test this tkinter
    turtle turtledemo winreg winsound xxlimited xxlimited_35 xxsubtype""".split()  # noqa: SIM905
)
_WITHOUT_SUBMODULES = frozenset({"encodings", "ctypes", "curses"})  # tables; one platform only


@cache
def names_by_module() -> dict[str, tuple[str, ...]]:
    """Every public module of the standard library, and the names whose home it is."""
    with quiet():
        modules = {name: module for name in _module_names() if (module := _imported(name))}
    homes: dict[int, tuple[tuple[object, ...], str, str]] = {}  # by id(): rank, module, name
    for module_name, module in modules.items():
        for name, thing in _exports(module):
            rank = (*_rank(module_name, name, thing), module_name, name)
            identity = id(getattr(thing, "__func__", thing))
            if identity not in homes or rank < homes[identity][0]:
                homes[identity] = (rank, module_name, name)
    names: dict[str, list[str]] = {module_name: [] for module_name in modules}
    for _, module_name, name in homes.values():
        names[module_name].append(name)
    return {module_name: tuple(sorted(exported)) for module_name, exported in names.items()}


def _rank(module_name: str, name: str, thing: object) -> tuple[int, int]:
    """How well a module suits as the home of a thing it exports; lower is better."""
    owner = getattr(thing, "__module__", None) or ""
    aliased = getattr(thing, "__name__", name) != name
    if owner == module_name or owner.startswith(f"{module_name}."):
        nearness = 0  # its own, or a package that exports from its submodule
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


def _module_names() -> Iterator[str]:
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in _LEFT_OUT:
            continue
        yield name
        module = None if name in _WITHOUT_SUBMODULES else _imported(name)
        if module is not None and hasattr(module, "__path__"):
            yield from _submodules(module)
    yield "os.path"


def _submodules(package: ModuleType) -> Iterator[str]:
    for submodule in pkgutil.iter_modules(package.__path__):
        if submodule.name.startswith("_") or submodule.name in ("test", "tests", "idle_test"):
            continue
        name = f"{package.__name__}.{submodule.name}"
        yield name
        if submodule.ispkg and (module := _imported(name)):
            yield from _submodules(module)


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, AttributeError):  # for another platform, or not built
        return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it, imported code neither prints nor warns."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
