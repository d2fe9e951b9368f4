"""Draws an evaluation as PNG files, without a window or global state."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mrag_pipeline.domain.evaluation import AT_N, Evaluation, Example
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.report.paper import PaperFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 130
_MAX_LABEL = 48  # characters of a window's text beside its row


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(evaluation: Evaluation, paper: Sequence[PaperFigures], folder: Path) -> list[str]:
    """Draws every plot that there is data for, as PNG files in the folder.

    Returns: the file names.
    Raises: ConfigError if matplotlib is not installed.
    """
    strategies = evaluation.strategies
    drawn = []
    at_n = all(evaluation.figure(strategy, "success_ratio", AT_N) for strategy in strategies)
    if at_n and evaluation.is_by_aspects():
        _save(folder / "success_by_aspects.png", lambda axes: _by_aspects(axes, evaluation, paper))
        drawn.append("success_by_aspects.png")
    _save(folder / "success_by_k.png", lambda axes: _by_k(axes, evaluation))
    _save(folder / "head_importance.png", lambda axes: _importance(axes, evaluation))
    drawn += ["success_by_k.png", "head_importance.png"]
    for number, example in enumerate(evaluation.examples, start=1):
        name = f"votes_{number}.png"
        height = 1.6 + 0.24 * len(example.windows)
        _save(folder / name, partial(_votes, example=example), height)
        drawn.append(name)
    return drawn


def _save(path: Path, paint: Callable[[Axes], None], height: float = 4.8) -> None:
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            "matplotlib is not installed",
            "matplotlib, for the plots",
            "pip install 'mrag-pipeline[eval]'",
        ) from None
    figure = Figure(figsize=(9.5, height), layout="constrained")
    axes = figure.add_subplot()
    colors = colormaps["tab20"]
    axes.set_prop_cycle(color=[colors(index) for index in (*range(0, 20, 2), *range(1, 20, 2))])
    paint(axes)
    with warnings.catch_warnings():
        # A query may contain letters that the font lacks: they are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # No creation time or version inside: the same figures give the same bytes.
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _by_aspects(axes: Axes, evaluation: Evaluation, paper: Sequence[PaperFigures]) -> None:
    for strategy in evaluation.strategies:
        figure = evaluation.figure(strategy, "success_ratio", AT_N)
        if figure is not None:
            values = figure.by_aspects
            axes.plot([*values], [*values.values()], marker="o", label=strategy)
    for published in paper[:1]:  # one model's lines are enough beside ours; the page has them all
        ratios = published.success_ratio
        best = max(published.by_aspects, key=lambda name: ratios.get(name, 0.0), default="")
        for strategy in dict.fromkeys(("standard", "mrag", best)):
            if strategy in published.by_aspects:
                values = published.by_aspects[strategy]
                label = f"paper's own: {strategy}, {published.model}"
                axes.plot([*values], [*values.values()], ls=":", lw=1, label=label)
    axes.set(xlabel="aspects of the query (n)", ylabel="success ratio, k = n", ylim=(0, 1.02))
    axes.set_title(f"{evaluation.subject.data_set}, {evaluation.subject.model}", fontsize=9)
    _legend(axes)
    axes.grid(alpha=0.3)


def _by_k(axes: Axes, evaluation: Evaluation) -> None:
    for strategy, curve in evaluation.curves.items():
        axes.plot([*curve], [*curve.values()], marker=".", label=strategy)
    axes.set(xlabel="documents fetched (k)", ylabel="mean success ratio", ylim=(0, 1.02))
    axes.set_title(f"{evaluation.subject.data_set}, {evaluation.subject.model}", fontsize=9)
    _legend(axes)
    axes.grid(alpha=0.3)


def _importance(axes: Axes, evaluation: Evaluation) -> None:
    importance = evaluation.importance
    axes.bar(range(len(importance)), [*importance.values()])
    axes.set_xticks(range(len(importance)), [*importance], rotation=90, fontsize=7)
    axes.set(ylabel="importance: mean norm x mean distance")
    axes.set_title(f"{evaluation.subject.index} {evaluation.subject.version}", fontsize=9)


def _votes(axes: Axes, example: Example) -> None:
    image = axes.imshow([window.votes for window in example.windows], aspect="auto", cmap="viridis")
    labels = [" ".join(window.text.split())[:_MAX_LABEL] for window in example.windows]
    axes.set_yticks(range(len(labels)), [_plain(label) for label in labels], fontsize=6)
    axes.set_xticks(range(len(example.voters)), example.voters, rotation=90, fontsize=7)
    query = " ".join(example.query.split())[:90]
    axes.set_title(
        _plain(f"{example.strategy}: votes for the {len(example.found)} documents found\n{query}"),
        fontsize=8,
    )
    axes.figure.colorbar(image, label="share of the votes")


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _plain(text: str) -> str:
    """The text with its dollar signs escaped, which would start a formula."""
    return text.replace("$", r"\$")
