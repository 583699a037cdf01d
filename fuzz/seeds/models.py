"""Writes the seed models: two small node cases of every operator in the PyPI onnx package.

Integer inputs of a case (shapes, axes, indices) become initializers, so that a mutation of them reaches shape
inference. Run from anywhere: python fuzz/seeds/models.py
"""

import collections
import pathlib
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

PER_OPERATOR = 2
LARGEST = 6000


def bake(model: onnx.ModelProto, inputs: list) -> None:
    graph = model.graph
    for position in reversed(range(1, len(graph.input))):
        array = inputs[position] if position < len(inputs) else None
        small = isinstance(array, np.ndarray) and array.dtype.kind in "iub" and array.size <= 64
        if small and array.dtype in (np.int64, np.int32, np.bool_):
            graph.initializer.append(numpy_helper.from_array(array, graph.input[position].name))
            del graph.input[position]


def main() -> None:
    warnings.simplefilter("ignore")
    folder = pathlib.Path(__file__).parent / "models"
    taken = collections.Counter()
    for case in sorted(load_model_tests(kind="node"), key=lambda case: case.name):
        operators = [node.op_type for node in case.model.graph.node]
        rarest = min(operators, key=lambda op: taken[op], default=None)
        if rarest is None or taken[rarest] >= PER_OPERATOR:
            continue
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        bake(model, list(case.data_sets[0][0]) if case.data_sets else [])
        data = model.SerializeToString(deterministic=True)
        if len(data) > LARGEST:
            continue
        taken.update(set(operators))
        (folder / f"{case.name.removeprefix('test_')}.onnx").write_bytes(data)


if __name__ == "__main__":
    main()
