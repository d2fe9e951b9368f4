"""The base of everything that goes over the wire."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """Rejects unknown keys: a misspelt option must not be ignored."""

    # Validators are built when a model is first used, not while the client is imported.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=True)
