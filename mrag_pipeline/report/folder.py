"""Writes an evaluation into a folder: `evaluation.json`, `report.md` and the plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mrag_pipeline.domain.evaluation import Evaluation
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.report.markdown import page
from mrag_pipeline.report.paper import PaperFigures
from mrag_pipeline.report.plots import can_draw, draw

JSON_FILE = "evaluation.json"
PAGE_FILE = "report.md"


def write_report(
    evaluation: Evaluation, paper: Sequence[PaperFigures], command: str, folder: Path
) -> list[Path]:
    """Writes all files of the report, replacing those of an earlier one; returns their paths.

    Without matplotlib there are no plots.
    Raises: ConfigError if the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: {error.strerror}", "a folder to write to", "choose another with --out"
        ) from None
    values = {
        "made_by": command,
        **evaluation.to_dict(),
        "published_by_the_papers_authors": [asdict(figures) for figures in paper],
    }
    (folder / JSON_FILE).write_text(json.dumps(values, indent=1, ensure_ascii=False), "utf-8")
    plots = draw(evaluation, paper, folder) if can_draw() else []
    (folder / PAGE_FILE).write_text(page(evaluation, paper, command, plots), "utf-8")
    return [folder / name for name in (JSON_FILE, PAGE_FILE, *plots)]
