"""Exports the sweep: `sweep.py [NAME…] [--exporter dynamo|torchscript] [--out FOLDER]`. Everything, when nothing is named.

Each export is a process of its own with a time limit. It leaves NAME.EXPORTER.onnx, its inputs as .npz and a .json with
what is known of it; a failure of the exporter leaves the .json with the reason. What is there is not made again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "sweep"
EXPORTERS = ["torchscript", "dynamo"]
LIBRARIES = ["torchvision", "timm", "transformers"]
# How far f32 may be from f64 under the seeded weights, as a share of the largest output.
STEADY = 2e-5
# Exporters print their own tracebacks; the last words say why.
REASON = 300


def architectures() -> dict:
    import importlib

    modules = [importlib.import_module(f"architectures.of_{library}") for library in LIBRARIES]
    return {each.name: each for module in modules for each in module.ARCHITECTURES}


def attention_counter():  # noqa: ANN201
    """Counts attention while a model runs: torch's operator, and softmax between two batched products."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Count(TorchFunctionMode):
        blocks = 0
        softmax = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
            name = getattr(function, "__name__", "")
            if name == "scaled_dot_product_attention":
                self.blocks += 1
            if name == "multi_head_attention_forward":
                self.blocks += 1
            if name in ("softmax", "_softmax") and args[0].ndim >= 3:
                self.blocks += 1
            return function(*args, **(kwargs or {}))

    torch.backends.mha.set_fastpath_enabled(False)
    return Count()


def steady(architecture):  # noqa: ANN001, ANN201
    """The model with seeded weights. Where these make it chaotic (f32 and f64 differ), the library's own initial ones.

    A few networks without normalisation amplify rounding so far that two correct runs disagree: they would test nothing.
    """
    import copy

    import torch

    import architectures as table
    from weights import settle

    module = settle(architecture.build())
    arguments = dict(zip((each.name for each in architecture.inputs), table.examples(architecture.inputs), strict=True))

    def run(model, dtype) -> list:  # noqa: ANN001
        given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in arguments.items()}
        values = given.values() if architecture.library != "transformers" else ()
        with torch.no_grad():
            found = table.tensors(model(*values, **({} if values else given)))
        return [each.double() for each in found if each.is_floating_point()]

    try:
        wide, narrow = run(copy.deepcopy(module).double(), torch.float64), run(module, torch.float32)
    except Exception:  # a model that makes f32 tensors of its own cannot be asked
        return module
    shapes = all(a.shape == b.shape for a, b in zip(wide, narrow, strict=True))
    pairs = [(a, b) for a, b in zip(wide, narrow, strict=True) if a.numel()] if shapes else []
    apart = max((float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in pairs), default=0.0)
    if apart < STEADY:
        return module
    torch.manual_seed(0)
    return architecture.build().eval()


def axes_of(inputs: tuple, dynamic: bool) -> list[dict[int, str]]:
    return [{i: d for i, d in enumerate(each.shape) if isinstance(d, str) and dynamic} for each in inputs]


def export_dynamo(model, arguments: list, names: list, axes: list, opset: int, path: Path) -> None:  # noqa: ANN001
    import torch

    shapes = tuple(axes) if any(axes) else None
    program = torch.onnx.export(
        model,
        tuple(arguments),
        dynamo=True,
        opset_version=opset,
        input_names=names,
        dynamic_shapes=shapes,
        verbose=False,
    )
    program.save(str(path))


def export_torchscript(model, arguments: list, names: list, axes: list, opset: int, path: Path) -> None:  # noqa: ANN001
    import torch

    named = dict(zip(names, axes, strict=True))
    torch.onnx.export(
        model,
        tuple(arguments),
        str(path),
        dynamo=False,
        opset_version=opset,
        input_names=names,
        dynamic_axes={name: dims for name, dims in named.items() if dims} or None,
    )


def attempts(exporter: str) -> list[tuple[Callable, bool]]:
    """Dynamic sizes first. What an exporter cannot express with them it is asked for at fixed sizes."""
    export = export_dynamo if exporter == "dynamo" else export_torchscript
    return [(export, True), (export, False)]


def runs_larger(path: Path, architecture) -> None:  # noqa: ANN001
    """Raises where sizes that the file calls dynamic were frozen in its operators: tracing a loop leaves its length."""
    import onnxruntime

    import architectures as table

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = zip(architecture.inputs, table.examples(architecture.inputs, larger=2), strict=True)
    feeds = {each.name: value.numpy() for each, value in given}
    session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})


def one(name: str, exporter: str, out: Path) -> dict:
    """One export, in this process."""
    import warnings

    import numpy as np
    import torch

    import architectures as table

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    architecture = architectures()[name]
    module = steady(architecture)
    names = [each.name for each in architecture.inputs]
    model = table.Named(module, names) if architecture.library == "transformers" else table.Positional(module)
    arguments = table.examples(architecture.inputs)
    counter = attention_counter()
    with torch.no_grad(), counter:
        expected = model.eval()(*arguments)
    record = {"attention": counter.blocks, "outputs": len(expected), "inputs": names}
    record["finite"] = all(bool(torch.isfinite(each).all()) for each in expected if each.is_floating_point())
    record["parameters"] = sum(each.numel() for each in module.parameters())
    path = out / f"{name}.{exporter}.onnx"
    reasons = []
    for export, dynamic in attempts(exporter):
        axes = axes_of(architecture.inputs, dynamic)
        if dynamic and not any(axes):
            continue
        try:
            with torch.no_grad():
                export(model, arguments, names, axes, architecture.opset[exporter], path)
            if dynamic:
                runs_larger(path, architecture)
        except Exception as error:  # exporters raise anything
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())}"[:REASON])
            continue
        np.savez(out / f"{name}.{exporter}.npz", **{n: v.numpy() for n, v in zip(names, arguments, strict=True)})
        return record | {"dynamic": dynamic, "exported": True, "dynamic_refused": reasons[:1]}
    return record | {"exported": False, "reason": reasons[-1]}


def child(name: str, exporter: str, out: Path, limit: int) -> dict:
    """One export in a process of its own, and its record."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, name, "--exporter", exporter, "--out", out, "--here"]
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        last = " ".join(done.stderr.split())[-REASON:]
        record = json.loads(lines[-1]) if lines else {"exported": False, "reason": f"ended {done.returncode}: {last}"}
    except subprocess.TimeoutExpired:
        record = {"exported": False, "reason": f"took longer than {limit} s"}
    return record | {"seconds": round(time.monotonic() - start, 1)}


def produce(name: str, exporter: str, arguments: argparse.Namespace) -> None:
    target = arguments.out / f"{name}.{exporter}.json"
    if target.exists() and not arguments.again:
        return
    architecture = architectures()[name]
    record = child(name, exporter, arguments.out, arguments.limit)
    about = {"name": name, "exporter": exporter, "library": architecture.library, "family": architecture.family}
    target.write_text(json.dumps(about | record, indent=2) + "\n")
    told = "dynamic" if record.get("dynamic") else "static" if record["exported"] else record["reason"]
    print(f"{name} {exporter}: {told} ({record['seconds']} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exporter", choices=EXPORTERS, help="default: both")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--jobs", type=int, default=2, help="exports at a time")
    parser.add_argument("--limit", type=int, default=240, help="seconds per export")
    parser.add_argument("--again", action="store_true", help="also what is there")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.here:
        print(json.dumps(one(arguments.names[0], arguments.exporter, arguments.out)))
        return
    exporters = [arguments.exporter] if arguments.exporter else EXPORTERS
    work = [(name, exporter) for exporter in exporters for name in arguments.names or architectures()]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for done in [pool.submit(produce, *each, arguments) for each in work]:
            done.result()


if __name__ == "__main__":
    main()
