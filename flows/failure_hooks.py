"""Reports a run that failed, crashed or was cancelled: to the log, and to a webhook if one is set.

What such a run has done is kept: the same command resumes from there.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.notify import NotifySpec

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

log = logging.getLogger(__name__)


def tell(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Reports which run ended, and how. Prefect requires these parameter names."""
    facts = {
        "flow": flow.name,
        "run": flow_run.name,
        "run_id": str(flow_run.id),
        "state": str(state.name),
        "message": state.message or "",
    }
    # A run from the command line has already printed its error.
    level = logging.ERROR if flow_run.deployment_id is not None else logging.DEBUG
    report(facts, flow_run.parameters, level)


def report(
    facts: Mapping[str, str], parameters: Mapping[str, Any], level: int = logging.DEBUG
) -> None:
    """Logs how a run ended, and posts it to the webhook of its config.

    Args:
        facts: flow, run, run_id, state, message.
        parameters: the run's arguments by name, config_file and settings among them.
    """
    log.log(level, "run_ended flow=%(flow)s run=%(run)s state=%(state)s message=%(message)s", facts)
    _post(_spec(parameters), facts)


def _spec(parameters: Mapping[str, Any]) -> NotifySpec:
    file = parameters.get("config_file")
    try:
        return Config.load(Path(file) if file else None, parameters.get("settings")).notify
    except ConfigError:
        return NotifySpec()  # the wrong config is what the run failed with


def _post(spec: NotifySpec, facts: Mapping[str, str]) -> None:
    url = os.environ.get(spec.webhook_env, "")
    if not url.startswith(("http://", "https://")):
        return
    headers = {"Content-Type": "application/json"}
    try:
        request = Request(url, json.dumps(dict(facts)).encode(), headers)
        urlopen(request, timeout=spec.timeout_s).close()
    except (URLError, TimeoutError, ValueError) as error:
        log.warning("webhook_failed variable=%s error=%s", spec.webhook_env, error)
