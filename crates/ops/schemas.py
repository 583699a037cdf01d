"""Writes schemas.txt: the operators of ai.onnx as the installed onnx package defines them.

Run `python schemas.py > schemas.txt` after an update of onnx; the test beside it names what the table lacks.
"""

import onnx
from onnx import AttributeProto, defs

NAMES = {
    "float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16", "bool": "bool", "string": "string",
    "complex64": "c64", "complex128": "c128", "float8e4m3fn": "f8e4m3fn", "float8e4m3fnuz": "f8e4m3fnuz",
    "float8e5m2": "f8e5m2", "float8e5m2fnuz": "f8e5m2fnuz", "float8e8m0": "f8e8m0", "float4e2m1": "f4e2m1",
    "float6e2m3": "f6e2m3", "float6e3m2": "f6e3m2",
    **{f"{sign}int{bits}": f"{'u' if sign else 'i'}{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)},
}
KINDS = {
    AttributeProto.INT: "int", AttributeProto.FLOAT: "float", AttributeProto.STRING: "string",
    AttributeProto.INTS: "ints", AttributeProto.FLOATS: "floats", AttributeProto.STRINGS: "strings",
    AttributeProto.GRAPH: "graph",
}


def attribute(schema_attribute):
    kind = KINDS.get(schema_attribute.type.value, "other")
    default = schema_attribute.default_value
    value = {"int": lambda: default.i, "float": lambda: f"{default.f:.9g}", "string": lambda: default.s.decode() or '""'}
    given = default.name and kind in value
    return f"  attribute {schema_attribute.name} {kind}" + (f" {value[kind]()}" if given else "")


def tensors(types):
    inner = (t.removeprefix("tensor(").removesuffix(")") for t in types if t.startswith("tensor("))
    return " ".join(sorted(NAMES[name] for name in inner))


def parameter(word, schema, value):
    constraint = next((t for t in schema.type_constraints if t.type_param_str == value.type_str), None)
    types = tensors(constraint.allowed_type_strs if constraint else [value.type_str])
    variable = value.type_str if constraint else "-"
    option = value.option.name.lower() if value.option.name != "Single" else "single"
    if option == "variadic" and not value.is_homogeneous:
        option = "mixed"
    return f"  {word} {option} {variable} {types or '-'}"


versions = {}
for schema in defs.get_all_schemas_with_history():
    if schema.domain == "":
        versions.setdefault(schema.name, {})[schema.since_version] = schema

print(f"# The operators of ai.onnx in onnx {onnx.__version__}: versions, and attributes, inputs and outputs of the newest one.")
print("# Written by schemas.py. Inputs and outputs: option, type variable, tensor types (- where there are none). Forms: version, most inputs\n# and outputs, attributes.")
for name, forms in sorted(versions.items()):
    newest = forms[max(forms)]
    print(name, *sorted(forms), *(["deprecated"] if newest.deprecated else []))
    if newest.deprecated:
        continue
    for _, found in sorted(newest.attributes.items()):
        print(attribute(found))
    for found in newest.inputs:
        print(parameter("input", newest, found))
    for found in newest.outputs:
        print(parameter("output", newest, found))
    for version, form in sorted(forms.items()):
        counts = f"{min(form.max_input, 99)} {min(form.max_output, 99)}"
        print(f"  form {version} {counts}", *sorted(form.attributes))
