"""An environment of its own, with one size of the distribution installed from a wheel by pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALL_TIMEOUT_S = 1_200


def build_wheel(folder: Path) -> Path:
    """A wheel of this checkout; what earlier builds left in it does not get in."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("mrag_pipeline", "flows"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=unwanted)
    # By this environment's setuptools: nothing is fetched.
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(source))
    [wheel] = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True, slots=True)
class CleanEnvironment:
    """A virtual environment; it has no pip, which would count as ours."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, wheel: Path, extra: str = "") -> CleanEnvironment:
        """The wheel and what it requires, in versions of constraints.txt.

        Args:
            extra: such as "library"; empty: none.
        """
        venv.create(folder, with_pip=False, symlinks=True)
        wanted = f"mrag-pipeline[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
        made = cls(folder)
        made.install("--constraint", str(ROOT / "constraints.txt"), wanted)
        return made

    def install(self, *arguments: str) -> None:
        """Installs more."""
        pip("--python", str(self.folder / "bin" / "python"), "install", *arguments)

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """The command of this environment's bin/, with none of this process's variables."""
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=cwd,
            env={"PATH": f"{self.folder / 'bin'}:{os.defpath}", "HOME": str(cwd), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=600,
        )

    def python(self, code: str, cwd: Path) -> str:
        """What the code prints.

        Raises: AssertionError with its errors if it fails.
        """
        ended = self.run("python", "-c", code, cwd=cwd)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def distributions(self) -> set[str]:
        """The names of what is installed, normalised."""
        found = self.packages().glob("*.dist-info")
        return {path.name.split("-")[0].lower().replace("_", "-") for path in found}

    def packages(self) -> Path:
        """Its site-packages."""
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.folder)}))

    def megabytes(self) -> float:
        """Of all files in its site-packages, 10^6 bytes each."""
        files = (path for path in self.packages().rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) / 1e6

    def import_seconds(self, statement: str, cwd: Path, tries: int = 10) -> float:
        """The least CPU time of the statement in a new process: other load moves it least."""
        timed = f"{statement}\nprint(time.process_time() - started)"
        code = f"import time\nstarted = time.process_time()\n{timed}"
        return min(float(self.python(code, cwd)) for _ in range(tries))


def pip(*arguments: str) -> None:
    """Runs pip quietly.

    Raises: AssertionError with what it said if it fails.
    """
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    # A path of this process's would count as installed.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, env=variables
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
