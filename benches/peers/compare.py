"""Speed of fusebox against onnxruntime on the same model, interleaved in one run.

Each row alternates short bursts of both sides, so that whatever else the machine does meets both alike. Ours runs the
optimized file, theirs the original in f32. The ratio of a row is the median over its bursts of ours / theirs.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import models
import ours
import peer

# Ratio ours / theirs that each row must stay within.
BUDGETS = {
    "whisper_tiny_encoder": {"f32": 1.2, "int8": 0.8},
    "clip_vit_b32": {"f32": 1.2, "int8": 0.8},
    "bert_base": {"f32": 1.2, "int8": 0.8},
    "production_resnet": {"f32": 2.0},
}
# Threads of either side still spin for a moment after a burst.
PAUSE = 0.03


def bursts(mine: ours.Server, theirs: peer.Server, count: int, runs: int) -> list[tuple[list[float], list[float]]]:
    """`count` pairs of bursts. Who begins alternates, so that neither always meets the other's warm cores."""
    for side in (mine, theirs):  # first runs plan and allocate
        side.times_us(2)
    pairs = []
    for index in range(count):
        times = {}
        for side in (mine, theirs) if index % 2 == 0 else (theirs, mine):
            time.sleep(PAUSE)
            times[side] = side.times_us(runs)
        pairs.append((times[mine], times[theirs]))
    return pairs


def summary(times: list[float]) -> dict[str, float]:
    return {
        "median_ms": statistics.median(times) / 1e3,
        "min_ms": min(times) / 1e3,
        "p95_ms": float(np.percentile(times, 95)) / 1e3,
    }


def measure(entry: dict, optimized: Path, precision: str, threads: int, arguments: argparse.Namespace) -> dict:
    feeds = models.feeds(entry, np.random.default_rng(0))
    theirs = peer.Server(models.filled(entry), threads, feeds)
    mine = ours.Server(arguments.fusebox, optimized, threads, models.sizes_of(entry))
    try:
        pairs = bursts(mine, theirs, arguments.bursts, arguments.runs)
    finally:
        mine.close()
    ratios = [statistics.median(a) / statistics.median(b) for a, b in pairs]
    return {
        "model": entry["name"],
        "exporter": models.exporter_of(entry),
        "precision": precision,
        "threads": threads,
        "ours": summary([t for a, _ in pairs for t in a]) | {"load_ms": mine.load_ms},
        "theirs": summary([t for _, b in pairs for t in b]) | {"load_ms": theirs.load_ms},
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [float(np.percentile(ratios, p)) for p in (25, 75)],
        "budget": BUDGETS.get(entry["name"], {}).get(precision),
    }


def within(row: dict) -> bool:
    return row["budget"] is None or row["ratio"] <= row["budget"]


def markdown(report: dict) -> str:
    lines = [
        f"{report['cpu']}, {report['cores']} cores; onnxruntime {report['onnxruntime']} runs the original in f32;"
        f" {report['bursts']} × {report['runs']} runs a side.",
        "",
        "| model | precision | threads | ours ms | theirs ms | ratio | quartiles | budget |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        low, high = row["ratio_quartiles"]
        budget = "" if row["budget"] is None else f"≤ {row['budget']}{'' if within(row) else ' **missed**'}"
        name = row["model"] + (" (torchscript)" if row["exporter"] == "torchscript" else "")
        lines.append(
            f"| {name} | {row['precision']} | {row['threads']} | {row['ours']['median_ms']:.2f} |"
            f" {row['theirs']['median_ms']:.2f} | {row['ratio']:.2f} | {low:.2f}–{high:.2f} | {budget} |"
        )
    return "\n".join(lines) + "\n"


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def rows(arguments: argparse.Namespace):
    for entry in models.entries(arguments.names or list(BUDGETS), arguments.exporter):
        for precision in arguments.precision:
            with tempfile.TemporaryDirectory() as folder:
                optimized = Path(folder) / "optimized.onnx"
                ours.optimize(arguments.fusebox, models.filled(entry), optimized, precision)
                for threads in arguments.threads:
                    yield measure(entry, optimized, precision, threads, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: the models with a budget")
    parser.add_argument("--fusebox", type=Path, default=ours.BINARY)
    parser.add_argument("--exporter", choices=["dynamo", "torchscript"], default="dynamo")
    parser.add_argument("--precision", nargs="+", choices=ours.PRECISIONS, default=["f32", "int8"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--bursts", type=int, default=15)
    parser.add_argument("--runs", type=int, default=5, help="runs in one burst")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    report = {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "bursts": arguments.bursts,
        "runs": arguments.runs,
        "rows": [],
    }
    for row in rows(arguments):
        report["rows"].append(row)
        print(f"{row['model']} {row['precision']} ×{row['threads']}: {row['ratio']:.2f}", flush=True)
        # Written after every row: a run of many minutes that is interrupted keeps what it has.
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")
        if arguments.markdown:
            arguments.markdown.write_text(markdown(report))
    print("\n" + markdown(report), end="")
    raise SystemExit(0 if all(map(within, report["rows"])) else 1)


if __name__ == "__main__":
    main()
