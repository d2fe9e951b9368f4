"""The alerts of deploy/prometheus as the Prometheus operator takes them.

`python -m tests.deploy.prometheus_rule` writes the component's file anew: kustomize reads nothing
from outside its own folder.
"""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
FILE = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheus-rule.yaml"
_HEAD = """\
# The rules of deploy/prometheus/alerts.yaml; written by `python -m tests.deploy.prometheus_rule`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: mrag-alerts}
spec:
"""


def as_resource(alerts: str) -> str:
    """The manifest with the rules of an alerts file."""
    rules = alerts[alerts.index("groups:\n") :]
    return _HEAD + "".join(f"  {line}\n" if line else "\n" for line in rules.splitlines())


if __name__ == "__main__":
    FILE.write_text(as_resource(ALERTS.read_text("utf-8")), "utf-8")
