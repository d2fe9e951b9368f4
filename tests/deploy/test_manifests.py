"""What `deploy/` holds is what the tools that read it accept."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mrag_pipeline.config import Config

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_compose_is_a_compose_file() -> None:
    """By the compose specification's schema."""
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_compose_publishes_on_loopback_and_asks_for_every_secret() -> None:
    """A secret has no default: it is asked for by name, and the example names it empty."""
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    composed = yaml.safe_load(text)
    for service in composed["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "compose.env.example").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert asked == {name for name, value in example.items() if not value}
    for name in re.findall(r"\$\{(\w+)", text):
        assert name in example or name.endswith("_IMAGE")


def test_the_dockerfile_has_no_fault() -> None:
    """By hadolint."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no build for this machine")
    ended = subprocess.run(
        [hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", sorted((DEPLOY / "config").glob("*.toml")), ids=lambda p: p.stem)
def test_the_example_configs_are_configs(path: Path) -> None:
    """Every key is one that exists, every value one that is taken."""
    config = Config.load(path)
    # An index that is not exact would never pass the check before publishing.
    assert config.milvus.index_type == "FLAT" or config.ingest.min_recall < 1
