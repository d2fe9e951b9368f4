"""deploy/prefect.yaml: every flow that makes sense alone, by parameters that it has."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# A push is of documents that its caller has: no schedule and no form of Prefect's gives them.
NOT_DEPLOYED = {"mrag-push"}


def deployments() -> list[dict[str, Any]]:
    """As the file has them."""
    return list(yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())["deployments"])


def flows() -> dict[str, tuple[str, ast.FunctionDef]]:
    """The entrypoint and the function of each flow, by its name in Prefect; nothing is imported."""
    found = {}
    for path in sorted((ROOT / "flows").glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "flow":
                    name = ast.literal_eval(decorator.keywords[0].value)
                    found[name] = f"flows/{path.name}:{node.name}", node
    return found


def test_every_flow_has_a_deployment() -> None:
    """Named like it, so that `prefect deployment run mrag-audit/audit` can be guessed."""
    entrypoints = {f"mrag-{one['name']}": one["entrypoint"] for one in deployments()}
    wanted = {name: place for name, (place, _) in flows().items() if name not in NOT_DEPLOYED}
    assert entrypoints == wanted


@pytest.mark.parametrize("deployment", deployments(), ids=lambda one: str(one["name"]))
def test_a_deployments_parameters_are_the_flows(deployment: dict[str, Any]) -> None:
    """A schedule gives all that have no default."""
    _, function = flows()[f"mrag-{deployment['name']}"]
    names = [argument.arg for argument in function.args.args]
    required = names[: len(names) - len(function.args.defaults)]
    assert set(deployment["parameters"]) <= set(names)
    if any(one.get("active", True) for one in deployment.get("schedules", ())):
        assert set(required) <= set(deployment["parameters"])
