"""Environment variables that Prefect, Ray, gRPC and transformers read when they are imported."""

from __future__ import annotations

import logging
import os

from mrag_pipeline import environment

# No telemetry and little logging, unless the user has set a variable.
_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_CLI_COLORS": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray would replace builtins.print, which is a document of `pydoc:`.
    "RAY_TQDM_PATCH_PRINT": "0",
    # torch's waiting threads do not spin: on a busy machine they take time from the one at work.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # What we start is another program at once (fork and exec). gRPC starts a thread between them,
    # which at times aborts the child, a part of Ray for example (docs/decisions/0139).
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "GRPC_VERBOSITY": "NONE",
    "GLOG_minloglevel": "3",
}


# Prefect's services use loggers that its settings do not reach; on a busy machine they log each
# wait for the server.
_SERVICES = ("EventsWorker", "APILogWorker")


def settle() -> None:
    """Sets the variables that the user has not set."""
    for name in _SERVICES:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    environment.settle()
