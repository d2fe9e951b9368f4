"""What the image is built from: the files that reach the builder, and what they install."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support.serve_nodes import asked_variables

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def reaches_the_builder(path: str) -> bool:
    """By .dockerignore: the last line that matches the path, or a folder above it, decides."""
    kept = True
    parts = [path, *map(str, Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        negated, pattern = pattern.startswith("!"), pattern.removeprefix("!").removeprefix("**/")
        names = [*parts, *(Path(part).name for part in parts)]
        if any(fnmatch(name, pattern) for name in names):
            kept = negated
    return kept


def copied() -> list[str]:
    """What COPY takes from the context."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    words = [[word for word in line.split() if not word.startswith("--")] for line in lines]
    return [source for line in words for source in line[:-1]]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """The files that Git keeps and .dockerignore lets through, and nothing else."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    place = tmp_path / "context"
    for name in filter(None, listed.stdout.split("\0")):
        if reaches_the_builder(name) and (ROOT / name).exists():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            # A link stays a link, as COPY leaves it.
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)
    return place


def test_the_image_has_the_front_that_serve_yaml_names(tmp_path: Path) -> None:
    """The Dockerfile's step writes it where deploy/serve.yaml expects it; any user may run it."""
    [words] = re.findall(r"^RUN python (-m mrag_pipeline.+)$", DOCKERFILE, re.MULTILINE)
    *module, folder = words.split()
    place = Path(asked_variables()["RAY_SERVE_HAPROXY_BINARY_PATH"])
    assert place.parent == Path(folder)
    command = [sys.executable, *module, str(tmp_path / "front")]
    done = subprocess.run(command, cwd=ROOT, umask=0o077, capture_output=True, text=True)
    if "HAProxy is not installed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    script = tmp_path / "front" / place.name
    assert done.stdout == f"{script}\n"
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in script.parent.iterdir()}
    assert modes.pop(place.name) == oct(script.parent.stat().st_mode & 0o777) == "0o755"
    assert set(modes.values()) == {"0o644"}
    said = subprocess.run([str(script), "-v"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("HAProxy version")


def test_each_source_is_there_and_reaches_the_builder() -> None:
    """A COPY of what .dockerignore holds back fails only when somebody builds."""
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert reaches_the_builder(source), source
    for secret in (".git", ".mrag", "mrag.toml", "deploy/compose.env", "shared", ".venv"):
        assert not reaches_the_builder(secret), secret


def test_the_images_python_is_one_that_we_support() -> None:
    """Both stages have the same, so that the environment can be copied."""
    versions = set(re.findall(r"^FROM python:(\d+\.\d+)\.\d+-", DOCKERFILE, re.MULTILINE))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert len(versions) == 1
    assert float(versions.pop()[2:]) >= float(wanted.removeprefix(">=3."))


@pytest.mark.slow
def test_the_context_installs_into_a_fresh_environment(context: Path, tmp_path: Path) -> None:
    """With its data files and flows; its requirements are this environment's, which is a GB."""
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=True)
    python = str(fresh / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "-c", "constraints.txt", "."],
        cwd=context,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    site = sysconfig.get_path("purelib", vars={"base": str(fresh)})
    assert installed_packages(Path(site)) == {"mrag_pipeline"}
    assert (Path(site) / "mrag_pipeline" / "flows" / "ingest.py").is_file()
    assert all((Path(site) / "mrag_pipeline" / name).exists() for name in package_data(context))
    # Behind the fresh environment's own packages, so that ours is the one just installed.
    Path(site, "requirements.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    said = subprocess.run(
        [str(fresh / "bin" / "mrag"), "--help"],
        cwd=tmp_path,
        env={"PATH": str(fresh / "bin"), "HOME": str(tmp_path), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
    assert "ingest" in said.stdout
    script = (
        "import mrag_pipeline as m, mrag_pipeline.flows.ingest as f; print(f.__file__, m.__file__)"
    )
    where = subprocess.run(
        [python, "-c", script], cwd=tmp_path, env={}, capture_output=True, text=True, timeout=120
    )
    assert where.returncode == 0, where.stderr
    assert all(path.startswith(site) for path in where.stdout.split()), where.stdout


def installed_packages(site: Path) -> set[str]:
    """The top-level packages and modules of our distribution: a `flows` would shadow a user's."""
    [record] = site.glob("mrag_pipeline-*.dist-info/RECORD")
    paths = [Path(line.split(",")[0]) for line in record.read_text("utf-8").splitlines()]
    outside = ("..", record.parent.name)  # the `mrag` script, and the wheel's own facts
    return {path.parts[0] for path in paths} - {*outside}


def test_the_flows_are_one_link_into_the_package() -> None:
    """Prefect finds them at the top; Python imports them under our name, from the same files."""
    link = ROOT / "mrag_pipeline" / "flows"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "flows"
    sources = {path.name for path in (ROOT / "flows").glob("*.py")}
    assert {"__init__.py", "ingest.py", "sync.py"} <= sources
    imports = re.compile(r"^\s*(from|import) flows\b", re.MULTILINE)
    assert [n for n in sources if imports.search((ROOT / "flows" / n).read_text("utf-8"))] == []


def package_data(context: Path) -> list[str]:
    """Files of the package that are no Python: what wheels forget."""
    package = context / "mrag_pipeline"
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".py"
    ]
    assert len(found) > 5
    return found
