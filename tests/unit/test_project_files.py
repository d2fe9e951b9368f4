"""The files by which others find their way into the project are valid, and agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yaml"))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def loaded(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yaml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/*.yaml"),
    ],
)
def test_files_for_the_forge_fit_their_schema(schema: str, pattern: str) -> None:
    """By the schemas that check-jsonschema brings along."""
    files = [str(path) for path in sorted(ROOT.glob(pattern))]
    assert files
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_targets_that_exist(workflow: Path) -> None:
    """`make X` of a workflow is a target of the Makefile."""
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values()
    if workflow.stem == "image":
        return  # built by Docker's own actions: a container engine is no requirement of ours
    runs = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    wanted = {word for run in runs for word in run.removeprefix("make ").split() if "=" not in word}
    assert wanted
    assert wanted - TARGETS == set()


def test_the_supported_pythons_are_tested() -> None:
    """From the least that pyproject.toml allows."""
    tests = loaded(".github/workflows/tests.yaml")["jobs"]["tests"]
    assert tests["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_pre_commit_runs_our_own_tools() -> None:
    """Nothing is fetched, so versions are those of constraints.txt."""
    repositories = loaded(".pre-commit-config.yaml")["repos"]
    assert [one["repo"] for one in repositories] == ["local"]
    hooks = {hook["id"]: hook["entry"] for hook in repositories[0]["hooks"]}
    assert {"ruff", "ruff-format", "mypy", "text", "links"} == set(hooks)
    for entry in hooks.values():
        if entry.startswith("make "):
            assert entry.split()[1] in TARGETS


def test_the_citation_names_the_paper() -> None:
    """The method is its authors'."""
    citation = loaded("CITATION.cff")
    assert citation["preferred-citation"]["identifiers"][0]["value"] == "arXiv:2406.05085"
    assert citation["license"] == "Apache-2.0"


def test_the_readme_is_short() -> None:
    """One screen that makes one want to try, one that shows how, and links."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150
