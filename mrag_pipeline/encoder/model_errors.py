"""Errors of a model's own code, as one refusal."""

from __future__ import annotations

from mrag_pipeline.errors import UnsupportedArchitecture

# What model code raises when it is run in a way that it was not written for.
MODEL_ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def type_and_line(error: Exception) -> str:
    """The error's type and the first line of its text."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def does_not_run(family: str, error: Exception) -> UnsupportedArchitecture:
    """The refusal of a model that cannot be called with token ids."""
    return UnsupportedArchitecture(
        f"{family}: the model does not run on token ids alone: {type_and_line(error)}",
        "a text encoder or decoder",
        "use another model",
    )
