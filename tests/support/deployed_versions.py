"""The versions that `deploy/` names: of Kubernetes, of images, and in its README's commands."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = "1.31"  # the oldest whose schemas are asked
README = (DEPLOY / "README.md").read_text("utf-8").replace("\\\n", " ")


def composed_images() -> dict[str, str]:
    """The image of each service of compose.yaml, its default where it can be chosen."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    return {
        name: re.sub(r"\$\{\w+:-(.+)\}", r"\1", service["image"])
        for name, service in services.items()
    }
