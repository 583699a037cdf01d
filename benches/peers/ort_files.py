"""Files that ONNX Runtime's own tools wrote: optimized, quantized, both. Each must import, optimize, run and agree.

    python benches/peers/ort_files.py [--binary PATH] [--markdown FILE] [--time] [bert_base production_resnet]

For each file: the operators that are not of ai.onnx, the cosine of our outputs (optimized, on our executor) and those of
ONNX Runtime on the same file and inputs, what our optimizer fused, and which steps ran without a kernel. Where activations
are quantized, a rounding anywhere moves levels everywhere behind it: so the file also runs in ONNX Runtime without its
optimizations, and `their own` is the cosine of its two answers. Two correct runtimes then end far apart, so the levels are
also compared tensor by tensor (see levels.py): the share that differs from those of ONNX Runtime as written, and by how
many levels, for ours and for ONNX Runtime optimized. Ends with 1 when a file fails, when our cosine to the nearer one is
below 0.9999 and below their own and the levels do not explain it: more than one in 10,000 differs, or one by more than
one. Files are made in a temporary folder, one after the other.
"""

import argparse
import collections
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import levels
import models
import ours
import peer

LIMIT = 0.9999
MOVED = 1e-4
LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class Reader(CalibrationDataReader):
    """Feeds for calibration: a few draws of the model's inputs."""

    def __init__(self, entry):
        self.draws = iter([models.feeds(entry, np.random.default_rng(seed)) for seed in range(3)])

    def get_next(self):
        return next(self.draws, None)


def optimized_by(source: Path, target: Path, level: str) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def by_transformers(source: Path, target: Path) -> None:
    from onnxruntime.transformers import optimizer

    model = optimizer.optimize_model(str(source), model_type="bert", num_heads=12, hidden_size=768)
    model.save_model_to_file(str(target))


def variants(entry: dict, source: Path, folder: Path):
    """Names and makers of files, in an order in which each may use `prepared`."""
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    if entry["name"] == "production_resnet":
        # A second pass folds the batch normalisations, whose parameters the first one made constant. Its value_info
        # contradicts the quantizer's shape inference, and is not needed.
        quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
        plain = onnx.load(prepared)
        del plain.graph.value_info[:]
        onnx.save(plain, prepared)
    for level in LEVELS:
        yield f"optimizer, {level}", lambda target, level=level: optimized_by(source, target, level)
    if entry["name"] == "bert_base":
        yield "transformers.optimizer", lambda target: by_transformers(source, target)
    for weight in (QuantType.QInt8, QuantType.QUInt8):
        for per_channel in (False, True):
            name = f"quantize_dynamic, {weight}{', per channel' if per_channel else ''}"
            yield name, lambda target, weight=weight, per_channel=per_channel: quantize_dynamic(
                str(prepared), str(target), per_channel=per_channel, weight_type=weight
            )
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        yield f"quantize_static, {form}", lambda target, form=form: quantize_static(
            str(prepared), str(target), Reader(entry), quant_format=form, per_channel=form == QuantFormat.QDQ
        )
    for weight in ("dynamic", "QDQ", "QOperator"):

        def both(target, weight=weight):
            first = folder / "quantized.onnx"
            if weight == "dynamic":
                quantize_dynamic(str(prepared), str(first), weight_type=QuantType.QInt8)
            else:
                quantize_static(str(prepared), str(first), Reader(entry), quant_format=QuantFormat[weight])
            optimized_by(first, target, "extended")

        yield f"quantized ({weight}), then extended", both


def count(path: Path) -> str:
    graph = onnx.load(path, load_external_data=False).graph
    names = [node.op_type.split("__")[0] for node in graph.node if node.domain not in ("", "ai.onnx")]
    return ", ".join(f"{name} {n}" for name, n in sorted(collections.Counter(names).items())) or "-"


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm else float(np.array_equal(a, b))


def as_written(model: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of ONNX Runtime without its optimizations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def time_of(run, repeats: int = 7) -> float:
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def without_kernel(binary: Path, model: Path, sizes: dict[str, int]) -> str:
    """Operators of the steps that ran the reference evaluation."""
    dims = [part for name, size in sizes.items() for part in ("--dim", f"{name}={size}")]
    command = [binary, "bench", model, "--json", "--profile", "--top", "0", "--runs", "1", *dims]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ours.Failed(done.stderr.strip())
    steps = json.loads(done.stdout)["profile"]["steps"]
    names = [step["kernel"].removeprefix("reference.") for step in steps if step["fallback"]]
    return ", ".join(f"{name} {n}" for name, n in sorted(collections.Counter(names).items())) or "-"


def moved_levels(binary: Path, path: Path, feeds: dict, folder: Path) -> tuple[levels.Moved, levels.Moved] | None:
    """Levels moved by our executor and by ONNX Runtime's optimizations, each tensor from the same operands."""

    def run(parts: Path, fed: dict) -> dict:
        ours.optimize(binary, parts, folder / "parts.ours.onnx")
        return ours.run(binary, folder / "parts.ours.onnx", fed, folder)

    return levels.compare(path, feeds, folder, run)


def explained(row: dict) -> bool:
    """Whether what differs is what rounding may differ by."""
    ours_moved, _ = row["levels"] or (None, None)
    return ours_moved is not None and ours_moved.furthest <= 1 and ours_moved.share <= MOVED


def measure(binary: Path, entry: dict, path: Path, folder: Path, timed: bool) -> dict:
    feeds = models.feeds(entry, np.random.default_rng(7))
    row = {"theirs": count(path)}
    expected = peer.outputs(path, feeds)
    result = folder / "ours.onnx"
    ours.optimize(binary, path, result)
    row["fused"] = count(result)
    found = ours.run(binary, result, feeds, folder)
    literal = as_written(path, feeds)
    row["own"] = min(cosine(literal[name], value) for name, value in expected.items())
    near = [min(cosine(found[name], value) for name, value in each.items()) for each in (expected, literal)]
    row["cosine"] = max(near)
    row["levels"] = moved_levels(binary, path, feeds, folder)
    row["without kernel"] = without_kernel(binary, result, models.sizes_of(entry))
    if timed:
        session = peer.session(path)
        row["their ms"] = time_of(lambda: session.run(None, feeds))
        with_server = ours.Server(binary, result, 4, models.sizes_of(entry))
        with_server.times_us(3)
        row["our ms"] = float(np.median(with_server.times_us(7))) / 1e3
        with_server.child.kill()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["bert_base", "production_resnet"])
    parser.add_argument("--binary", type=Path, default=ours.BINARY)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--time", action="store_true")
    arguments = parser.parse_args()
    lines, failures = [], 0
    head = ["model", "made by", "operators that are not ONNX's", "cosine", "their own", "levels, ours"]
    head += ["levels, theirs", "ours", "without a kernel"]
    head += ["their ms", "our ms"] if arguments.time else []
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    print("\n".join(lines))
    for entry in models.entries(arguments.models, "dynamo"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for made_by, make in variants(entry, models.filled(entry), folder):
                target = folder / "theirs.onnx"
                for old in folder.glob("theirs.onnx*"):
                    old.unlink()
                try:
                    make(target)
                    row = measure(arguments.binary, entry, target, folder, arguments.time)
                    cells = [row["theirs"], f"{row['cosine']:.7f}", f"{row['own']:.7f}"]
                    cells += [*(map(str, row["levels"] or "--")), row["fused"], row["without kernel"]]
                    cells += [f"{row['their ms']:.1f}", f"{row['our ms']:.1f}"] if arguments.time else []
                    failures += row["cosine"] < min(LIMIT, row["own"]) and not explained(row)
                except Exception as error:
                    failures += 1
                    cells = [f"FAILED: {str(error)[-300:]}"] + [""] * (len(head) - 3)
                lines.append(f"| {' | '.join([entry['name'], made_by, *cells])} |")
                print(lines[-1], flush=True)
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(lines) + "\n")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
