"""docs/support.md names the versions that constraints.txt and deploy/ have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from tests.support.deployed_versions import KUBERNETES, README, composed_images

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "support.md").read_text("utf-8")
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def version_of(part: str) -> str:
    """The second cell of a part's row."""
    [cell] = re.findall(rf"^\| {re.escape(part)} \| ([^|]+) \|", PAGE, re.MULTILINE)
    return str(cell)


def test_the_pinned_versions() -> None:
    """What constraints.txt installs."""
    assert version_of("pymilvus") == PINS["pymilvus"]
    assert f"of pymilvus {PINS['pymilvus']} " in PAGE
    assert version_of("Ray") == PINS["ray"]
    assert version_of("Prefect") == PINS["prefect"]
    assert version_of("torch, transformers") == f"{PINS['torch']}, {PINS['transformers']}"
    assert f"Lite {'.'.join(PINS['milvus-lite'].split('.')[:2])} |" in PAGE
    prefect = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())["prefect-version"]
    assert prefect == PINS["prefect"]


def test_the_pythons_are_those_of_ci() -> None:
    """From the oldest that the package takes."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yaml").read_text())
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert version_of("Python").split(", ") == matrix
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={matrix[0]}"


def test_the_versions_that_deploy_installs() -> None:
    """Milvus, its chart, KubeRay and the oldest Kubernetes whose schemas are asked."""
    milvus = composed_images()["milvus"].split(":v")[1]
    assert f"| by protocol; what `deploy/` installs: {milvus} |" in PAGE
    assert version_of("Kubernetes") == f"{KUBERNETES} and newer"
    for part, chart in (("Milvus Helm chart", "milvus/milvus"), ("KubeRay operator", "kuberay/")):
        [line] = [one for one in README.splitlines() if f" {chart}" in one and "--install" in one]
        assert f"--version {version_of(part)} " in line
