"""Exports the corpus: `export.py [NAME…] [--exporter dynamo|torchscript]`. Everything, when nothing is named."""

import argparse
import importlib
import inspect
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

import manifest
import skeleton
from recipe import Recipe, Spelling

CORPUS = Path(__file__).resolve().parent.parent
FAMILIES = ["mlp", "cnn", "attention", "smallmind", "digits", "whisper", "clip", "bert", "gpt", "vgg"]
EXPORTERS = ["dynamo", "torchscript"]
# Weights up to this many bytes are committed as they are.
COMMIT_BYTES = 300_000
# The one key that holds source paths of the exporting machine. All others stay as the exporter wrote them.
STACK_TRACE = "pkg.torch.onnx.stack_trace"


def target_of(name: str, exporter: str) -> Path:
    return CORPUS / ("." if exporter == "dynamo" else "torchscript") / f"{name}.onnx"


def examples(recipe: Recipe, spelling: Spelling, sizes: dict[str, int]) -> tuple[torch.Tensor, ...]:
    """Inputs for one run. Frozen dims keep the recipe's sizes, whatever is asked."""
    generator = torch.Generator().manual_seed(1)
    sizes = sizes | {dim: recipe.sizes[dim] for dim in spelling.frozen}
    return tuple(each.sample(sizes, generator) for each in recipe.inputs)


def trace_sizes(recipe: Recipe) -> dict[str, int]:
    """Sizes to trace with: torch.export takes a dim of size 1 for a constant, and equal sizes for one dim."""
    return {dim: max(size, 2) for dim, size in recipe.sizes.items()}


def dynamic_dims(recipe: Recipe, spelling: Spelling) -> list[dict[int, str]]:
    """For each input, its dynamic axes and their names."""
    named = [{i: d for i, d in enumerate(each.shape) if isinstance(d, str)} for each in recipe.inputs]
    return [{i: d for i, d in axes.items() if d not in spelling.frozen} for axes in named]


def like_arguments(model: nn.Module, dims: list[dict[int, str]]) -> tuple:
    """Inputs taken as `*rest` are one argument to torch.export: a tuple of its own."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    if parameters[-1].kind is not inspect.Parameter.VAR_POSITIONAL:
        return tuple(dims)
    named = len(parameters) - 1
    return (*dims[:named], tuple(dims[named:]))


def export_dynamo(model: nn.Module, recipe: Recipe, spelling: Spelling) -> onnx.ModelProto:
    program = torch.onnx.export(
        model,
        examples(recipe, spelling, trace_sizes(recipe)),
        dynamo=True,
        opset_version=spelling.opset,
        input_names=[each.name for each in recipe.inputs],
        output_names=list(recipe.outputs),
        dynamic_shapes=like_arguments(model, dynamic_dims(recipe, spelling)),
        optimize=spelling.optimize,
        verbose=False,
    )
    return program.model_proto


def export_torchscript(model: nn.Module, recipe: Recipe, spelling: Spelling, path: Path) -> onnx.ModelProto:
    axes = {each.name: dims for each, dims in zip(recipe.inputs, dynamic_dims(recipe, spelling), strict=True)}
    # PRESERVE leaves the (eval) mode alone; EVAL would also fold each BatchNormalization into its convolution.
    keep = torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        model,
        examples(recipe, spelling, trace_sizes(recipe)),
        str(path),
        dynamo=False,
        opset_version=spelling.opset,
        input_names=[each.name for each in recipe.inputs],
        output_names=list(recipe.outputs),
        dynamic_axes=axes,
        training=torch.onnx.TrainingMode.EVAL if spelling.optimize else keep,
        do_constant_folding=spelling.optimize,
    )
    return onnx.load(str(path))


def forget_machine(model: onnx.ModelProto) -> None:
    """Drops the stack traces, which hold paths of the exporting machine."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    for node in nodes:
        kept = [entry for entry in node.metadata_props if entry.key != STACK_TRACE]
        if len(kept) < len(node.metadata_props):
            del node.metadata_props[:]
            node.metadata_props.extend(kept)


def agree(path: Path, model: nn.Module, recipe: Recipe, spelling: Spelling) -> None:
    """Runs the export beside torch, at the traced sizes and at others, before its weights are taken out."""
    masks = [i for i, each in enumerate(recipe.inputs) if each.fill == "ones"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    others = {dim: size + 3 for dim, size in recipe.sizes.items()}
    # A dim called "a + b" is the sum of two others.
    others |= {dim: sum(others[part] for part in dim.split(" + ")) for dim in others if " + " in dim}
    for sizes in (trace_sizes(recipe), others):
        inputs = examples(recipe, spelling, sizes)
        for i in masks:
            inputs[i][..., -2:] = 0  # padding
        with torch.no_grad():
            expected = model(*inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        feeds = {each.name: value.numpy() for each, value in zip(recipe.inputs, inputs, strict=True)}
        for name, want, got in zip(recipe.outputs, expected, session.run(None, feeds), strict=True):
            error = np.abs(want.numpy() - got).max() / np.abs(want.numpy()).max()
            assert error < 1e-4, f"{recipe.name}: output {name} is {error:.1e} away from torch at {sizes}"


def export(recipe: Recipe, exporter: str) -> None:
    spelling, path = recipe.spelling(exporter), target_of(recipe.name, exporter)
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = recipe.build(spelling.attention)
    whole = path.with_suffix(".whole")
    if exporter == "dynamo":
        proto = export_dynamo(model, recipe, spelling)
    else:
        proto = export_torchscript(model, recipe, spelling, whole)
    forget_machine(proto)
    onnx.save(proto, str(whole))
    agree(whole, model, recipe, spelling)
    whole.unlink()
    weights = {skeleton.fingerprint(p.detach().numpy()) for p in model.parameters()}
    size = 4 * sum(p.numel() for p in model.parameters())
    hollow = skeleton.hollow(proto, recipe.name, weights) if size > COMMIT_BYTES else 0
    data = proto.SerializeToString(deterministic=True)
    assert not (leak := manifest.MACHINE_PATH.search(data)), f"{path.name} holds a path: {leak.group()!r}"
    path.write_bytes(data)
    manifest.record(recipe, exporter, size // 4, hollow > 0)
    print(f"{path.relative_to(CORPUS)}: {path.stat().st_size:,} bytes, {hollow} weights seeded", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exporter", choices=EXPORTERS)
    arguments = parser.parse_args()
    torch.set_num_threads(4)
    warnings.simplefilter("ignore")
    families = [importlib.import_module(family) for family in FAMILIES]
    recipes = {recipe.name: recipe for family in families for recipe in family.RECIPES}
    for name in arguments.names or recipes:
        for exporter in [arguments.exporter] if arguments.exporter else EXPORTERS:
            export(recipes[name], exporter)
        if name.startswith("digits"):
            importlib.import_module("digits").save_test_split(CORPUS)


if __name__ == "__main__":
    main()
