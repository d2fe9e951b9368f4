"""What each size of install imports, and what a smaller one says of a part that it lacks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mrag_pipeline import extras
from tests.support.blocked_imports import run_without

PROJECT_FILE = Path(__file__).parents[2] / "pyproject.toml"
PROJECT = tomllib.loads(PROJECT_FILE.read_text("utf-8"))["project"]
CLUSTER = extras.LIBRARIES["cluster"]
ALL = [library for libraries in extras.LIBRARIES.values() for library in libraries]
MODELS = ("torch", "transformers", "pymilvus", "milvus_lite")  # heavy to import, not part of this


def distributions(needs: list[str]) -> set[str]:
    """Their names, normalised."""
    names = (re.split(r"[\[<>=; ]", need)[0] for need in needs)
    return {name.lower().replace("_", "-") for name in names} - {"mrag-pipeline"}


@pytest.mark.parametrize("extra", extras.LIBRARIES)
def test_the_libraries_of_an_extra_are_those_of_the_project_file(extra: str) -> None:
    """By the modules that the installed distributions bring."""
    brought = packages_distributions()
    needs = distributions(PROJECT["optional-dependencies"][extra])
    known = {
        distribution.lower().replace("_", "-")
        for library in extras.LIBRARIES[extra]
        for distribution in brought[library]
    }
    base = distributions(PROJECT["dependencies"])
    # annotated-types comes with pydantic; SQLAlchemy is Prefect's, and starlette FastAPI's.
    assert needs - known <= base | {"annotated-types", "sqlalchemy"}
    assert known - needs <= {"starlette"}


def test_the_client_needs_no_library_of_the_larger_installs() -> None:
    """`from mrag_pipeline import Client` where none of them is installed."""
    code = "from mrag_pipeline import AsyncClient, Client\nClient('http://127.0.0.1:1').close()"
    ended = run_without(ALL, code)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_index_and_command_need_neither_ray_nor_prefect() -> None:
    """All that searching and ingesting import, and every command, in an install of the library."""
    code = (
        "import mrag_pipeline.library.index, mrag_pipeline.library.live_progress\n"
        "from mrag_pipeline.flows import audit, evaluate, export, import_version, ingest\n"
        "from mrag_pipeline.flows import push, repair, retire, sync\n"
        "from mrag_pipeline import cli\n"
        "cli.add_commands(cli.app)"
    )
    ended = run_without([*CLUSTER, "sqlalchemy", "uvicorn", *MODELS], code)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("name", ["Index", "Encoder"])
def test_a_name_of_a_larger_install_says_how_to_get_it(name: str) -> None:
    """In place of the first library that happens to be missing."""
    ended = run_without(ALL, f"from mrag_pipeline import {name}")
    assert ended.returncode == 1
    [said] = [line for line in ended.stderr.splitlines() if "pip install" in line]
    assert said.endswith(
        f"mrag_pipeline.{name} needs numpy, which is not installed: "
        "pip install 'mrag-pipeline[library]'"
    )


RUN = "import sys\nfrom mrag_pipeline.__main__ import main\nsys.argv[1:] = {arguments!r}\nmain()"


def test_the_command_of_a_client_install_says_how_to_get_it() -> None:
    """One line and the exit code of wrong arguments, not a traceback."""
    ended = run_without(ALL, RUN.format(arguments=["search", "bees"]))
    assert ended.returncode == 2
    assert ended.stderr == (
        "mrag: the `mrag` command needs typer, which is not installed: "
        "pip install 'mrag-pipeline[library]'\n"
    )


@pytest.mark.parametrize("command", ["ingest", "search", "serve"])
def test_the_help_of_a_library_install_is_whole(command: str) -> None:
    """Also of commands whose parts are missing."""
    ended = run_without([*CLUSTER, *MODELS], RUN.format(arguments=[command, "--help"]))
    assert ended.returncode == 0
    assert "Usage" in ended.stdout


def test_an_unknown_module_is_not_explained() -> None:
    """A mistake in code is no missing extra."""
    assert extras.explained(ModuleNotFoundError("no", name="nowhere.at_all")) is None


def test_reporting_to_a_server_needs_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured server that would hear nothing is refused by name."""
    code = "import os; os.environ['PREFECT_API_URL'] = 'http://127.0.0.1:1/api'\n" + RUN.format(
        arguments=["ingest", "nothing.jsonl"]
    )
    ended = run_without([*CLUSTER, *MODELS], code)
    assert ended.returncode == 2
    assert "PREFECT_API_URL needs prefect, which is not installed" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_while_it_is_imported_is_no_traceback() -> None:
    """The first second of a command; after it the command stops in order."""
    code = """
import subprocess
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "mrag_pipeline.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from mrag_pipeline.__main__ import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "mrag: interrupted\n")
