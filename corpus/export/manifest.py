"""MANIFEST.toml: one entry per file, rewritten as a whole and sorted, so that re-exports make small diffs."""

import hashlib
import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

import skeleton

if TYPE_CHECKING:  # readers of the manifest need no torch
    from recipe import Recipe

CORPUS = Path(__file__).resolve().parent.parent
PATH = CORPUS / "MANIFEST.toml"
# Source files of the exporting machine, as stack traces name them. Node names have slashes too, but no such ending.
MACHINE_PATH = re.compile(rb"[\w./-]+\.py\b|site-packages")
HEADER = """\
# Written by export/export.py; checked by export/check.py. What each model is, who made it, how, and its hash.
"""


def entries() -> list[dict]:
    return tomllib.loads(PATH.read_text())["model"] if PATH.exists() else []


def record(recipe: "Recipe", exporter: str, params: int, hollow: bool) -> None:
    """Adds or replaces the entry of one exported file."""
    spelling = recipe.spelling(exporter)
    file = f"{recipe.name}.onnx" if exporter == "dynamo" else f"torchscript/{recipe.name}.onnx"
    proto = skeleton.load(str(CORPUS / file))
    entry = {
        "name": recipe.name,
        "file": file,
        "purpose": recipe.purpose,
        "exporter": f"torch.onnx.export(dynamo={'True' if exporter == 'dynamo' else 'False'})",
        "producer": f"{proto.producer_name} {proto.producer_version}",
        "opset": next(each.version for each in proto.opset_import if each.domain == ""),
        "torch": version("torch"),
        "script": f"export/{recipe.build.__module__}.py",
        "params": params,
        "skeleton": hollow,
        "attention": attention_of(spelling.attention),
        "inputs": inputs_of(recipe, proto),
        "sizes": recipe.sizes,
        "sha256": hashlib.sha256((CORPUS / file).read_bytes()).hexdigest(),
    }
    if recipe.build.__module__ in ("whisper", "clip", "bert", "gpt"):
        entry["transformers"] = version("transformers")
    if recipe.build.__module__ in ("cnn", "vgg"):
        entry["torchvision"] = version("torchvision")
    others = [each for each in entries() if each["file"] != file]
    write(sorted([*others, entry], key=lambda each: (each["name"], each["file"])))


def attention_of(spelling: str) -> str:
    meaning = {"eager": "eager: MatMul, Softmax, MatMul as the module writes them", "sdpa": "sdpa: torch's operator"}
    return meaning.get(spelling, "none")


def inputs_of(recipe: "Recipe", proto: onnx.ModelProto) -> list[dict]:
    """Name, type and shape as the file has them, and what a valid input looks like."""
    found = []
    for value, each in zip(proto.graph.input, recipe.inputs, strict=True):
        shape = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        entry = {"name": value.name, "dtype": each.dtype, "shape": shape, "fill": each.fill}
        found.append(entry | ({"below": each.below} if each.fill == "ids" else {}))
    return found


def write(models: list[dict]) -> None:
    blocks = ["[[model]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in m.items()) for m in models]
    PATH.write_text(HEADER + "\n" + "\n".join(blocks))


def bare(key: str) -> str:
    """Dims such as `past_seq + seq` need quotes as keys."""
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key)


def toml(value: object) -> str:
    """The few shapes of value that an entry has; JSON's strings and numbers are TOML's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{bare(key)} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)
