"""Quantized activations tensor by tensor: each computed from ONNX Runtime's own values of those before it.

In a statically quantized file a real that lies on the border of two levels falls to one or the other by the last bit of
an f32, and every level that falls otherwise moves many behind it: two correct runtimes end far apart. So the file is cut
at each quantized activation. Its readers get an input instead, fed with what ONNX Runtime as written computed, and it
becomes an output: a difference stays in the tensor where it arises, and an error of arithmetic would show as such.
"""

import collections
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

TYPES = ("tensor(uint8)", "tensor(int8)")


@dataclass
class Moved:
    """Levels of one runtime that differ from those of ONNX Runtime as written."""

    tensors: int = 0
    elements: int = 0
    differing: int = 0
    furthest: int = 0
    by_operator: collections.Counter = field(default_factory=collections.Counter)

    @property
    def share(self) -> float:
        return self.differing / max(self.elements, 1)

    def __str__(self) -> str:
        if not self.differing:
            return f"none of {self.elements:,}"
        operators = ", ".join(f"{name} {n}" for name, n in sorted(self.by_operator.items()) if n)
        return f"{self.share:.5%} of {self.elements:,} by {self.furthest} ({operators})"


def quantized(model: onnx.ModelProto, folder: Path) -> dict[str, str]:
    """Operators by the names of the quantized tensors that they compute, in order; types as ONNX Runtime infers them."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    written = {name: node for node in model.graph.node for name in node.output if name}
    given = {each.name for each in model.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in written if name not in given)
    path = folder / "probe.onnx"
    onnx.save(probe, path)
    types = {each.name: each.type for each in session(path, ort.GraphOptimizationLevel.ORT_DISABLE_ALL).get_outputs()}
    path.unlink()
    # The range that DynamicQuantizeLinear finds is not the file's: what it gives flows on.
    return {
        name: node.op_type
        for name, node in written.items()
        if types[name] in TYPES and node.op_type != "DynamicQuantizeLinear"
    }


def cut(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> None:
    """Lets the readers of the named tensors read inputs instead, and makes the tensors outputs."""
    graph = model.graph
    for node in graph.node:
        for slot, name in enumerate(node.input):
            if name in values:
                node.input[slot] = f"{name}/cut"
    given = {each.name for each in graph.output}
    for name, value in values.items():
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(f"{name}/cut", dtype, value.shape))
        if name not in given:
            graph.output.append(helper.make_tensor_value_info(name, dtype, None))


def session(model: Path, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def moved(operators: dict[str, str], expected: dict, found: dict) -> Moved:
    result = Moved()
    for name, operator in operators.items():
        distance = np.abs(expected[name].astype(np.int32) - found[name].astype(np.int32))
        result.tensors += 1
        result.elements += distance.size
        result.differing += int((distance > 0).sum())
        result.furthest = max(result.furthest, int(distance.max(initial=0)))
        result.by_operator[operator] += int((distance > 0).sum())
    return result


def compare(source: Path, feeds: dict[str, np.ndarray], folder: Path, run_ours) -> tuple[Moved, Moved] | None:
    """Levels that our executor moves and those that ONNX Runtime's optimizations move. None without such activations.

    `run_ours(path, feeds)` optimizes a file and gives its outputs by name.
    """
    model = onnx.load(source)
    operators = quantized(model, folder)
    if not operators:
        return None
    whole, parts = folder / "whole.onnx", folder / "parts.onnx"
    given = {each.name for each in model.graph.output}
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    plain.graph.output.extend(onnx.ValueInfoProto(name=name) for name in operators if name not in given)
    onnx.save(plain, whole)
    literal = session(whole, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    values = dict(zip(operators, literal.run(list(operators), feeds), strict=True))
    whole.unlink()
    cut(model, values)
    onnx.save(model, parts)
    theirs = session(parts, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    fed = {**feeds, **{f"{name}/cut": value for name, value in values.items()}}
    fed = {each.name: fed[each.name] for each in theirs.get_inputs()}
    own = dict(zip(operators, theirs.run(list(operators), fed), strict=True))
    ours = run_ours(parts, fed)
    parts.unlink()
    return moved(operators, values, ours), moved(operators, values, own)
