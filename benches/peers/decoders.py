"""Decoders with caches, as `corpus/export/decoders.py` exports them: do they get through, agree, and decode?

For each: is it optimized, do its batch and lengths stay symbolic, does the executor agree with onnxruntime on the
original with and without a past, and how fast does it decode. Prints a table.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from sweep import difference, fusebox, onnxruntime, ours

DECODERS = ours.ROOT / "corpus" / "decoders"
# The first step, and one in the middle: sizes of dims by what their names say.
STEPS = {
    "first": {"batch": 2, "sequence": 6, "past": 0, "encoder": 9},
    "later": {"batch": 2, "sequence": 1, "past": 11, "encoder": 9},
}
COSINE = 0.99999


def size(name: str, axis: int, value: str, step: dict[str, int]) -> int:
    """The size that a symbolic dim of an input has at a step: exporters name dims as they like, inputs tell."""
    if axis == 0 and value != "cache_position":
        return step["batch"]
    if "encoder" in value:
        return step["encoder"]
    if value.startswith("past"):
        return step["past"]
    if value == "attention_mask":
        return step["past"] + step["sequence"]
    return step["sequence"]


def feeds(model: onnx.ModelProto, step: dict[str, int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    made = {}
    known = {each.name for each in model.graph.initializer}
    for value in model.graph.input:
        if value.name in known:
            continue
        dims = value.type.tensor_type.shape.dim
        shape = [
            d.dim_value or size(d.dim_param, i, value.name, step)
            for i, d in enumerate(dims)
        ]
        if value.name == "use_cache_branch":
            made[value.name] = np.array([step["past"] > 0])
        elif value.name.endswith("input_ids"):
            made[value.name] = random.integers(3, 100, shape)
        elif value.name in ("position_ids", "cache_position"):
            made[value.name] = np.broadcast_to(
                step["past"] + np.arange(shape[-1]), shape
            ).copy()
        elif "mask" in value.name:
            made[value.name] = np.ones(shape, np.int64)
        else:
            made[value.name] = random.standard_normal(shape).astype(np.float32)
    return made


def symbolic(path: Path) -> bool:
    """Whether no output has lost a size that depends on the inputs."""
    outputs = onnx.load(path, load_external_data=False).graph.output
    return all(
        not d.dim_param.startswith("_")
        for o in outputs
        for d in o.type.tensor_type.shape.dim
    )


def examine(arguments: argparse.Namespace, source: Path) -> dict:
    model = onnx.load(source, load_external_data=False)
    row: dict = {"name": source.stem}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        optimized = folder / "optimized.onnx"
        try:
            fusebox(arguments, "optimize", source, "-o", optimized)
            row["symbolic"] = symbolic(optimized)
            for step, sizes in STEPS.items():
                given = feeds(model, sizes)
                inputs = folder / f"{step}.npz"
                np.savez(inputs, **given)
                try:
                    want, _ = onnxruntime(arguments, source, inputs, 0)
                except ours.Failed as error:
                    row[step] = f"onnxruntime: {' '.join(str(error).split())[:120]}"
                    continue
                found = ours.run(arguments.fusebox, optimized, given, folder)
                row[step] = difference(want, found)[0]
        except ours.Failed as error:
            row["failed"] = " ".join(str(error).split())[:300]
            return row
        try:
            answer = fusebox(
                arguments,
                "bench",
                optimized,
                "--decode",
                str(arguments.steps),
                "--threads",
                "1",
            )["decode"]
            row |= {
                "tokens_per_second": answer["tokens_per_second"],
                "step": answer["seconds"]["median"],
            }
            row["first_seconds"] = answer["prompt_seconds"]
        except ours.Failed as error:
            row["refused"] = " ".join(str(error).split())[:300]
    return row


def told(row: dict) -> str:
    if "failed" in row:
        return f"| {row['name']} | {row['failed']} |"
    agree = [
        row[step] if isinstance(row[step], str) else f"{row[step]:.7f}"
        for step in STEPS
    ]
    speed = row.get("refused")
    if not speed:
        speed = f"{row['tokens_per_second']:.0f} | {1e3 * row['step']:.2f} ms | {1e3 * row['first_seconds']:.2f} ms"
    return f"| {row['name']} | {'yes' if row['symbolic'] else 'no'} | {' | '.join(agree)} | {speed} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        help="beginnings of names; default: all that lies in the folder",
    )
    parser.add_argument("--folder", type=Path, default=DECODERS)
    parser.add_argument("--fusebox", type=Path, default=ours.BINARY)
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--steps", type=int, default=64)
    arguments = parser.parse_args()
    print(
        "| decoder | symbolic | cosine, no past | cosine, past | tokens/s | step | first step |"
    )
    print("|---|---|---|---|---|---|---|")
    for source in sorted(arguments.folder.glob("*.onnx")):
        if not arguments.names or source.stem.startswith(tuple(arguments.names)):
            print(told(examine(arguments, source)), flush=True)


if __name__ == "__main__":
    main()
