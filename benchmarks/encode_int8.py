"""An int8 encoder beside float32's and beside the int8 encoders of others, on one CPU thread.

    python benchmarks/encode_int8.py          about 6 minutes on an idle machine

Needs a CPU with AVX-512 VNNI or AMX, and MiniLM from its package. For the others:
`pip install onnx onnxscript onnxruntime openvino nncf`; what is not installed is skipped, and said.

The texts are docstrings of Python's standard library. All contenders tokenize with the same
tokenizer, inside the measured time. The others get what they are best at: texts sorted by length,
padded in batches of 32, as sentence-transformers does. They make the standard vector alone; ours
makes 12 heads' vectors, or both. ONNX Runtime: `quantize_dynamic`, per channel. OpenVINO: NNCF's
quantization with smoothing on the texts that ours is calibrated on; or int8 weights with dynamic
quantization. Each takes its turn in each round, with seconds of CPU of this process.

Recall@10: the share of each text's 10 nearest neighbours that are float32's; of heads the mean
over heads. Writes figures/int8.json: {name: {value, low, high, unit}}; a speed is the median over
rounds of tokens a CPU second, a ratio the median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers
from figure import figure
from recall import recall

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.encoder.calibration_texts import CALIBRATION_TEXTS
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.quantized_linears import has_int8_operators, multiplies_int8
from mrag_pipeline.encoder.transformer import TransformerEncoder, load_encoder
from mrag_pipeline.settings.encoder import PACKAGED_MODEL, EncoderSpec

FIGURES = Path(__file__).parent / "figures" / "int8.json"
SPEC = EncoderSpec(PACKAGED_MODEL, max_tokens=256)
BATCH = 32
PEERS = ("onnxruntime, int8 dynamic", "openvino, int8 by NNCF", "openvino, int8 dynamic")
OURS = ("ours, int8, heads", "ours, int8, heads + standard")
ROUNDS, TEXTS = 9, 400
Run = Callable[[list[str]], np.ndarray]  # to (N, E), or (N, H, D) for heads
Inputs = dict[str, np.ndarray]
Figure = dict[str, float | str]


def docstrings(count: int) -> list[str]:
    """Docstrings of the standard library, drawn with a fixed seed."""
    reader = wiring.reader(Config.load(None, {"corpus": {"uri": "pydoc:"}}))
    documents = reader.read(list(reader.slices(2**40)))
    texts = sorted({d.text for d in documents if isinstance(d, Document)})
    drawn = np.random.default_rng(0).permutation(len(texts))[:count].tolist()
    return [texts[row] for row in drawn]


# ------------------------------------------------------------------ others
class _States(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state


def export(path: Path) -> None:
    """MiniLM's hidden states as ONNX, for any number of texts of any length."""
    folder = str(find_model(SPEC).root)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids, mask = torch.randint(5, 999, (2, 16)), torch.ones(2, 16, dtype=torch.long)
    mask[1, 9:] = 0
    texts, tokens = torch.export.Dim("texts", min=1, max=4096), torch.export.Dim("tokens", max=512)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        _States(model).eval(),
        (ids, mask, torch.zeros_like(ids)),
        str(path),
        input_names=names,
        dynamo=True,
        dynamic_shapes={name: {0: texts, 1: tokens} for name in names},
        external_data=False,
        verbose=False,
    )


def padded(rows: list[list[int]]) -> Inputs:
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def sorted_batches(encoder: TransformerEncoder, call: Callable[[Inputs], np.ndarray]) -> Run:
    """Mean-pooled unit vectors of texts that are sorted by length and padded."""

    def run(texts: list[str]) -> np.ndarray:
        rows = encoder.tokenizer.ids(texts, SPEC.max_tokens)
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        vectors = np.empty((len(rows), encoder.card.standard_dim), np.float32)
        for start in range(0, len(rows), BATCH):
            batch = order[start : start + BATCH]
            inputs = padded([rows[row] for row in batch])
            mask = inputs["attention_mask"][..., None].astype(np.float32)
            vectors[batch] = (call(inputs) * mask).sum(1) / mask.sum(1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    return run


def onnxruntime_int8(source: Path) -> Callable[[Inputs], np.ndarray]:
    onnxruntime = importlib.import_module("onnxruntime")
    quantization = importlib.import_module("onnxruntime.quantization")
    prepared, target = source.with_name("prepared.onnx"), source.with_name("int8.onnx")
    quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    kind = quantization.QuantType.QInt8
    quantization.quantize_dynamic(str(prepared), str(target), per_channel=True, weight_type=kind)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(target), options, ["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def openvino_int8(source: Path, rows: list[list[int]] | None) -> Callable[[Inputs], np.ndarray]:
    """Quantized on these texts; without any: int8 weights, and activations at run time."""
    nncf, openvino = (importlib.import_module(name) for name in ("nncf", "openvino"))
    core = openvino.Core()
    model = core.read_model(str(source))
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    if rows is None:
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 384
    else:
        data = nncf.Dataset([padded([row]) for row in rows])
        kind = nncf.ModelType.TRANSFORMER
        model = nncf.quantize(model, data, model_type=kind, subset_size=len(rows))
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda inputs: request.infer(inputs, share_inputs=True)[0]


def peers(encoder: TransformerEncoder, folder: Path) -> dict[str, Run]:
    """Those whose packages are installed; what is missing is printed."""
    needed = {name: ["onnx", "onnxscript"] for name in PEERS}
    for name in PEERS:
        needed[name] += ["onnxruntime"] if name.startswith("onnx") else ["openvino", "nncf"]
    found: dict[str, Run] = {}
    for name, packages in needed.items():
        missing = [each for each in packages if importlib.util.find_spec(each) is None]
        if missing:
            print(f"{name} is skipped: {', '.join(missing)} not installed")
            continue
        source = folder / "model.onnx"
        if not source.exists():
            export(source)
        rows = encoder.tokenizer.ids(list(CALIBRATION_TEXTS), SPEC.max_tokens)
        if name.startswith("onnx"):
            call = onnxruntime_int8(source)
        else:
            call = openvino_int8(source, rows if "NNCF" in name else None)
        found[name] = sorted_batches(encoder, call)
    return found


# ------------------------------------------------------------------ figures
def measure(rounds: int = ROUNDS, num_texts: int = TEXTS) -> dict[str, Figure]:
    """Measures, prints, keeps and returns the figures; none where the CPU has no int8 products."""
    torch.set_num_threads(1)
    if not (multiplies_int8() and has_int8_operators()):
        print("skipped: this CPU or torch has no int8 products")
        return {}
    float32 = load_encoder(SPEC, device="cpu")
    int8 = load_encoder(replace(SPEC, dtype="int8"), device="cpu")
    texts = docstrings(num_texts)
    with TemporaryDirectory() as folder:
        runs: dict[str, Run] = {
            "ours, float32, heads": lambda t: float32.encode(t, "document", standard=False).heads,
            "ours, float32, heads + standard": lambda t: float32.encode(t, "document").standard,
            OURS[0]: lambda t: int8.encode(t, "document", standard=False).heads,
            OURS[1]: lambda t: int8.encode(t, "document").standard,
            **peers(float32, Path(folder)),
        }
        exact = float32.encode(texts, "document")
        tokens = int(exact.num_tokens.sum())
        figures: dict[str, Figure] = {}
        for name, run in runs.items():
            vectors = run(texts)  # the first time also makes plans
            is_heads = vectors.ndim == 3
            of = exact.heads if is_heads else exact.standard[:, None]
            kept = recall(vectors if is_heads else vectors[:, None], of)
            what = "heads" if is_heads else "standard"
            figures[f"{name}: recall@10 of {what}"] = figure([kept], "share")
        speeds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                began = time.process_time()
                run(texts)
                speeds[name].append(tokens / (time.process_time() - began))
    for name, values in speeds.items():
        figures[f"{name}: speed"] = figure(values, "tokens/CPU s", 0)
    for ours in OURS:
        for other in (ours.replace("int8", "float32"), *(name for name in PEERS if name in runs)):
            ratios = [a / b for a, b in zip(speeds[ours], speeds[other], strict=True)]
            figures[f"{ours} to {other}"] = figure(ratios, "x", 2)
    for name, one in figures.items():
        print(f"{name:70} {one['value']:>9} [{one['low']}, {one['high']}] {one['unit']}")
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--texts", type=int, default=TEXTS)
    options = parser.parse_args()
    measure(options.rounds, options.texts)


if __name__ == "__main__":
    main()
