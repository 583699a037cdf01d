"""Turns a model into its skeleton, where a short recipe stands for each large weight, and back."""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

import seeded

LOCATION = "fusebox:seeded"
# Tensors up to this size stay as they are.
KEEP_BYTES = 4096


def fingerprint(array: np.ndarray) -> tuple[int, int]:
    """Names a weight however an exporter transposed, reshaped or renamed it: its size and the sum of its bits."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return array.size, int(bits.sum(dtype=np.uint64))


def hollow(model: onnx.ModelProto, name: str, weights: set[tuple[int, int]]) -> int:
    """Replaces, in place, each large initializer that is one of `weights`; returns how many.

    Everything else stays real, so tables that mean something (rotary angles, masks, positions) keep their values.
    """
    replaced = 0
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or 4 * np.prod(tensor.dims, dtype=np.int64) <= KEEP_BYTES:
            continue
        array = numpy_helper.to_array(tensor)
        if fingerprint(array) in weights:
            _hollow_tensor(tensor, array, seeded.fnv1a(f"{name}:{tensor.name}"))
            replaced += 1
    return replaced


def _hollow_tensor(tensor: TensorProto, array: np.ndarray, seed: int) -> None:
    first = array.flat[0]
    if (array == first).all():
        entries = {"generator": "constant", "value": seeded.decimal(first)}
    else:
        values = array.astype(np.float64)
        entries = {
            "generator": "normal",
            "seed": str(seed),
            "mean": seeded.decimal(np.float32(values.mean())),
            "scale": seeded.decimal(seeded.scale_of(values.std())),
        }
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": LOCATION, **entries}.items():
        tensor.external_data.add(key=key, value=value)


def is_hollow(tensor: TensorProto) -> bool:
    if tensor.data_location != TensorProto.EXTERNAL:
        return False
    return any(entry.key == "location" and entry.value == LOCATION for entry in tensor.external_data)


def fill(model: onnx.ModelProto) -> onnx.ModelProto:
    """Generates, in place, every weight that the skeleton describes."""
    for tensor in model.graph.initializer:
        if not is_hollow(tensor):
            continue
        count = int(np.prod(tensor.dims, dtype=np.int64))
        array = _generate({entry.key: entry.value for entry in tensor.external_data}, count)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = array.astype("<f4").tobytes()
    return model


def _generate(entries: dict[str, str], count: int) -> np.ndarray:
    match entries["generator"]:
        case "constant":
            return np.full(count, np.float32(entries["value"]))
        case "normal":
            mean, scale = np.float32(entries["mean"]), np.float32(entries["scale"])
            return seeded.normal(count, int(entries["seed"]), mean, scale)
        case other:
            raise ValueError(f"unknown generator {other!r}")


def load(path: str) -> onnx.ModelProto:
    """Reads a model or skeleton. The seeded location is no file, so onnx must not follow it."""
    return onnx.load(path, load_external_data=False)
