"""On PYTHONPATH, this breaks a service: the encoder fails with a bug for one question.

Python imports it at the start of each process, so replicas have it too. The module that it breaks
is imported later, and changed then.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

BROKEN = "mrag_pipeline.serving.parts.query_encoder"
QUESTION = "What does nobody divide by?"


class _Breaking(importlib.abc.MetaPathFinder):
    """Finds the module as Python does, and changes it when it has been executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != BROKEN:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _break(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _break(module: Any) -> None:
    embed = module.QueryEncoder.embed

    async def broken(self: Any, queries: Any, *arguments: Any, **options: Any) -> Any:
        if any(query.text == QUESTION for query in queries):
            return 1 / 0
        return await embed(self, queries, *arguments, **options)

    module.QueryEncoder.embed = broken


if __name__ == "sitecustomize":  # a test imports it for the question alone
    sys.meta_path.insert(0, _Breaking())
