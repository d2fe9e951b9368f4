"""What deploy/serve.yaml asks for on every node of a Ray cluster."""

from __future__ import annotations

import re

from tests.support.project_folder import ROOT

FILE = ROOT / "deploy" / "serve.yaml"


def asked_variables() -> dict[str, str]:
    """Ray's environment variables in the comment at the file's head."""
    head = FILE.read_text("utf-8").split("\n\n")[0]
    line = r"^#   (RAY_\w+)=([\w./-]+(?: [\w-]+)?)(?:  |$)"
    return dict(re.findall(line, head, re.MULTILINE))
