"""Does the optimized file compute what the original does? Both run in onnxruntime, on the same inputs.

One row per model, precision and target: the smallest cosine of any output, and the largest error of any element against
the largest magnitude in its row (the last axis). With --executor, our own executor runs the optimized file too.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import models
import ours
import peer

# The models that int8 has a limit on.
ENCODERS = ("whisper_tiny_encoder", "clip_vit_b32", "bert_base")
# Points of accuracy that a digits model may lose in int8.
POINTS = 0.5


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def relative_error(original: np.ndarray, other: np.ndarray) -> float:
    """The worst row's largest error, as a share of that row's largest magnitude."""
    error = np.abs(original.astype(np.float64) - other).max(axis=-1)
    return float((error / np.abs(original).max(axis=-1).clip(1e-30)).max())


def agreement(original: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    if list(original) != list(other):
        raise ours.Failed(f"outputs are {list(other)}, not {list(original)}")
    return {
        "cosine": min(cosine(original[name], other[name]) for name in original),
        "relative_error": max(relative_error(original[name], other[name]) for name in original),
    }


def accuracy(outputs: dict[str, np.ndarray], labels: np.ndarray) -> float:
    return float((outputs["logits"].argmax(axis=1) == labels).mean() * 100)


def verdict(row: dict) -> str:
    """Empty when the row is within the limits that its precision has."""
    if "failed" in row:
        return row["failed"]
    if "accuracy" in row and row["original_accuracy"] - row["accuracy"] > POINTS:
        return f"more than {POINTS} points of accuracy lost"
    least = {"f32": 0.999999, "fp16": 0.9999, "bf16": 0.9999}.get(row["precision"])
    if row["precision"] == "int8" and row["model"] in ENCODERS:
        least = 0.999
    if least is not None and not row["cosine"] >= least:
        return f"cosine below {least}"
    if row["precision"] == "f32" and not row["relative_error"] <= 1e-4:
        return "error above 1e-4"
    return ""


def inputs_of(entry: dict) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Random inputs; for the trained models, their test split and its labels."""
    if not entry["name"].startswith("digits"):
        return models.feeds(entry, np.random.default_rng(0)), None
    images, labels = (np.load(models.CORPUS / f"digits_test_{part}.npy") for part in ("images", "labels"))
    return {"image": images}, labels


def rows_of(entry: dict, arguments: argparse.Namespace) -> Iterator[dict]:
    source = models.filled(entry)
    feeds, labels = inputs_of(entry)
    original = peer.outputs(source, feeds)
    for precision, target in itertools.product(arguments.precision, arguments.target):
        row = {"model": entry["name"], "exporter": models.exporter_of(entry), "precision": precision, "target": target}
        with tempfile.TemporaryDirectory() as folder:
            optimized = Path(folder) / "optimized.onnx"
            try:
                ours.optimize(arguments.fusebox, source, optimized, precision, target)
            except ours.Failed as error:
                yield row | {"runtime": "", "failed": str(error)}
                continue
            for runtime in runtimes(target, arguments.executor):
                yield (
                    row
                    | {"runtime": runtime}
                    | compared(runtime, optimized, arguments.fusebox, feeds, original, labels)
                )


def runtimes(target: str, executor: bool) -> list[str]:
    return ["onnxruntime", "fusebox"] if executor and target == "fusebox" else ["onnxruntime"]


def compared(
    runtime: str,
    model: Path,
    binary: Path,
    feeds: dict[str, np.ndarray],
    original: dict[str, np.ndarray],
    labels: np.ndarray | None,
) -> dict:
    """What one run of the optimized file shows. A file that does not run is a row like any other."""
    try:
        found = peer.outputs(model, feeds) if runtime == "onnxruntime" else ours.run(binary, model, feeds, model.parent)
        result = agreement(original, found)
    except Exception as error:  # onnxruntime's exceptions share no other base
        return {"failed": " ".join(str(error).split())[:300]}
    if labels is not None:
        result |= {"original_accuracy": accuracy(original, labels), "accuracy": accuracy(found, labels)}
    return result


def line(row: dict) -> str:
    name = row["model"] + (" (torchscript)" if row["exporter"] == "torchscript" else "")
    start = f"| {name} | {row['precision']} | {row['target']} | {row['runtime']} |"
    if "failed" in row:
        return f"{start} | | | {row['failed']} |"
    points = f"{row['original_accuracy']:.2f} → {row['accuracy']:.2f}" if "accuracy" in row else ""
    return f"{start} {row['cosine']:.7f} | {row['relative_error']:.1e} | {points} | {verdict(row)} |"


HEADER = "| model | precision | target | runs in | cosine | error | accuracy % | |\n|---|---|---|---|---|---|---|---|"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: the whole corpus")
    parser.add_argument("--fusebox", type=Path, default=ours.BINARY)
    parser.add_argument("--exporter", choices=["dynamo", "torchscript"], help="default: both")
    parser.add_argument("--target", nargs="+", choices=ours.TARGETS, default=ours.TARGETS)
    for precision in ours.PRECISIONS:
        parser.add_argument(f"--{precision}", dest="precision", action="append_const", const=precision)
    parser.add_argument("--executor", action="store_true", help="also run the fusebox target in our executor")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    arguments.precision = arguments.precision or ["f32"]
    return arguments


def main() -> None:
    arguments = parse()
    rows = []
    print(HEADER)
    for entry in models.entries(arguments.names, arguments.exporter):
        for row in rows_of(entry, arguments):
            rows.append(row)
            print(line(row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text("\n".join([HEADER, *map(line, rows)]) + "\n")
    missed = sum(bool(verdict(row)) for row in rows)
    print(f"\n{len(rows) - missed} of {len(rows)} rows within their limits")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
