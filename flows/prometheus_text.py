"""Prometheus's text format, as node_exporter's textfile collector reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# Name, labels and value.
Sample = tuple[str, Mapping[str, str], float]


def text_of(metrics: Iterable[tuple[str, str, str]], samples: Sequence[Sample]) -> str:
    """The samples, each below its metric's meaning and type.

    Args:
        metrics: name, type and meaning of each, in the order of the text.
    """
    lines = []
    for name, kind, meaning in metrics:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        lines += [
            f"{name}{{{_labels(labels)}}} {value!r}"
            for sample, labels, value in samples
            if sample == name
        ]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
