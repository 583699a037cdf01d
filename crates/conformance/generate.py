#!/usr/bin/env python3
"""Writes the ONNX backend tests as files: generate.py FOLDER.

FOLDER/cases/<group>/<name>/model.onnx and test_data_set_<n>/{input,output}_<i>.pb hold a case as onnx itself lays it
out; FOLDER/cases.json lists all cases with their tolerances and what rule, if any, excludes them;
FOLDER/shape_inference.tsv holds what onnx infers about the types of their values and of the models in corpus/. Needs the packages of
requirements.txt and nothing else; the same packages give the same files.
"""

import io
import json
import pathlib
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference
from onnx.backend.test.loader import load_model_tests

LIGHT = "onnx/backend/test/data/light/"
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
TRAINING = {"ai.onnx.training", "ai.onnx.preview.training"}


def nodes_of(graph):
    """Every node of a graph, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes_of(inner)


def all_nodes(model):
    yield from nodes_of(model.graph)
    for function in model.functions:
        yield from nodes_of(function)


def element_types(kind):
    """Element types inside a type, through sequences and optionals."""
    field = kind.WhichOneof("value")
    if field in ("tensor_type", "sparse_tensor_type"):
        yield getattr(kind, field).elem_type
    elif field in ("sequence_type", "optional_type"):
        yield from element_types(getattr(kind, field).elem_type)
    elif field == "map_type":
        yield kind.map_type.key_type
        yield from element_types(kind.map_type.value_type)


def uses_strings(model):
    """Whether a string is read, written or cast to."""
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if any(onnx.TensorProto.STRING in element_types(value.type) for value in values):
        return True
    tensors = list(model.graph.initializer)
    for node in all_nodes(model):
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.STRING:
                return True
    return any(tensor.data_type == onnx.TensorProto.STRING for tensor in tensors)


def exclusion(model):
    """The rule that takes a case out of the count, or None. Rules look at the model, never at the name."""
    domains = {node.domain for node in all_nodes(model)}
    if "ai.onnx.ml" in domains:
        return "ai.onnx.ml"
    if domains & TRAINING:
        return "training"
    if any(node.op_type == "ImageDecoder" for node in all_nodes(model)):
        return "ImageDecoder"
    return "strings" if uses_strings(model) else None


def is_random(model):
    """Whether only shapes and types of the outputs are defined."""
    def draws(node):
        training = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] != ""
        return node.op_type in RANDOM or training

    return any(draws(node) for node in all_nodes(model))


def message(value, kind):
    """The protobuf message of a value of a given type."""
    if isinstance(value, onnx.TensorProto):
        return value
    field = kind.WhichOneof("value")
    if field == "map_type":
        return numpy_helper.from_dict(value)
    if field == "sequence_type":
        return numpy_helper.from_list(value)
    if field == "optional_type":
        return numpy_helper.from_optional(value)
    return numpy_helper.from_array(np.asarray(value))


def write_values(folder, prefix, values, infos):
    for index, (value, info) in enumerate(zip(values, infos)):
        data = message(value, info.type).SerializeToString(deterministic=True)
        (folder / f"{prefix}_{index}.pb").write_bytes(data)


def write_node_case(case, folder):
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString(deterministic=True))
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        write_values(data, "input", inputs, case.model.graph.input)
        write_values(data, "output", outputs, case.model.graph.output)
    return case.model


def write_light_case(case, folder):
    """A large network whose weights are constants: the input is a ramp, as in onnx's own runner."""
    source = pathlib.Path(onnx.__file__).parent.parent / case.url
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    shutil.copy(source, folder / "model.onnx")
    model = onnx.load(source)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    for index, value in enumerate(inputs):
        shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in value.type.tensor_type.shape.dim]
        count = int(np.prod(shape))
        ramp = (np.arange(count).reshape(shape) / count).astype(np.float32)
        write_values(data, "input", [ramp], [value])
        (data / "input_0.pb").rename(data / f"input_{index}.pb")
    for index in range(len(model.graph.output)):
        shutil.copy(source.with_name(f"{source.stem}_output_{index}.pb"), data / f"output_{index}.pb")
    return model


def cases():
    """(group, case) of everything that the package carries. The "real" kind refers to the light networks."""
    # Building the node cases prints and warns; none of it is about the files.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for kind in ["node", "simple", "real", "pytorch-operator", "pytorch-converted"]:
            for case in sorted(load_model_tests(kind=kind), key=lambda case: case.name):
                yield kind, case


SHORT = {"FLOAT": "f32", "FLOAT16": "f16", "DOUBLE": "f64", "BFLOAT16": "bf16", "BOOL": "bool", "STRING": "string",
         "COMPLEX64": "c64", "COMPLEX128": "c128"}


def element_name(number):
    """Name of an element type in the text form of Fusebox."""
    name = onnx.TensorProto.DataType.Name(number)
    return SHORT.get(name) or name.replace("FLOAT", "f").replace("UINT", "u").replace("INT", "i").lower()


def type_text(kind):
    """A type in the text form, `?` where nothing is known."""
    field = kind.WhichOneof("value")
    if field == "sequence_type":
        return f"seq({type_text(kind.sequence_type.elem_type)})"
    if field == "optional_type":
        return f"optional({type_text(kind.optional_type.elem_type)})"
    if field != "tensor_type" or kind.tensor_type.elem_type == 0:
        return "?"
    tensor = kind.tensor_type
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else "?" for dim in tensor.shape.dim]
    shape = ",".join(dims) if tensor.HasField("shape") else ".."
    return f"{element_name(tensor.elem_type)}[{shape}]"


def inferred(model):
    """(value, type) by onnx's shape inference, from the inputs alone."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.ClearField("type")
    model = shape_inference.infer_shapes(model, data_prop=True)
    return [(value.name, type_text(value.type)) for value in [*model.graph.value_info, *model.graph.output]]


def write_inferred(out, listed):
    corpus = pathlib.Path(__file__).parents[2] / "corpus"
    models = [(f"{c['group']}/{c['name']}", out / "cases" / c["group"] / c["name"] / "model.onnx") for c in listed]
    models += [(f"corpus/{path.relative_to(corpus)}", path) for path in sorted(corpus.rglob("*.onnx"))]
    with (out / "shape_inference.tsv").open("w") as file:
        for name, path in models:
            for value, kind in inferred(onnx.load(path, load_external_data=False)):
                file.write(f"{name}\t{value}\t{kind}\n")


def main():
    out = pathlib.Path(sys.argv[1])
    shutil.rmtree(out / "cases", ignore_errors=True)
    listed, missing = [], []
    for kind, case in cases():
        group = "light" if kind == "real" else kind
        folder = out / "cases" / group / case.name
        if case.model_dir is not None:
            shutil.copytree(case.model_dir, folder)
            model = onnx.load(folder / "model.onnx")
        elif case.model is not None:
            model = write_node_case(case, folder)
        elif case.url.startswith(LIGHT):
            model = write_light_case(case, folder)
        else:
            missing.append(f"{group}/{case.name}: its data lies at {case.url}")
            continue
        listed.append({
            "group": group, "name": case.name, "rtol": case.rtol, "atol": case.atol,
            "excluded": exclusion(model), "random": is_random(model),
        })
    (out / "cases.json").write_text(json.dumps(listed, indent=0) + "\n")
    write_inferred(out, [case for case in listed if case["excluded"] is None])
    for line in missing:
        print(f"not in the package: {line}")
    print(f"{len(listed)} cases of onnx {onnx.__version__} in {out}")


if __name__ == "__main__":
    main()
