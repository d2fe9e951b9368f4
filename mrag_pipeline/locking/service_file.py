"""Where a running service of an index is: a file beside its run lock, while it runs.

The file names the process too, so that one that was left by a killed service is not believed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrag_pipeline.locking.owner import Owner

log = logging.getLogger(__name__)
_NAME = "service.json"


@contextmanager
def announced(root: Path, index: str, url: str) -> Iterator[None]:
    """While the block runs, `running_service` gives the URL; nothing if the disk cannot be written.

    Args:
        root: the folder of `run_lock`.
    """
    file = root / index / _NAME
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"url": url, **Owner.here().facts()}), "utf-8")
    except OSError as error:  # commands then search by themselves, as they did
        log.info("service_not_announced error=%s", error)
    try:
        yield
    finally:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:  # the process it names is gone in a moment
            log.info("service_file_left error=%s", error)


def running_service(root: Path, index: str) -> str:
    """The URL of the service that runs for the index; empty if none is known to run."""
    try:
        facts = json.loads((root / index / _NAME).read_text("utf-8"))
        url, owner = str(facts.pop("url")), Owner.of(facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "" if owner.is_gone() or owner.host != Owner.here().host else url
