"""Finds the device that a model runs on."""

from __future__ import annotations

import torch

from mrag_pipeline.errors import ConfigError


def find_device(name: str, setting: str = "workers.device") -> torch.device:
    """The device of that name; `auto` is a GPU if there is one.

    Args:
        setting: where the name comes from; for the error.
    Raises: ConfigError if this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {name!r}: {str(error).splitlines()[0]}",
            "auto, cpu, cuda or cuda:N, present on this machine",
            f"check {setting} and `nvidia-smi`",
        ) from error
    return device
