"""Every model of the sweep through Fusebox, beside onnxruntime on the original file and the same inputs.

`corpus/export/sweep.py` makes the models. For each: is it optimized (f32, verified against the reference), does the
executor agree with onnxruntime, does the optimized file run in onnxruntime and agree, what fused, what has no kernel.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx

import ours
import sweep_page

SWEEP = ours.ROOT / "corpus" / "sweep"
PAGE = ours.ROOT / "book" / "src" / "sweep.md"
# Least cosine of every f32 output.
COSINE = 0.99999
REASON = 400
RUNS = 7


def fusebox(arguments: argparse.Namespace, *command: str | Path) -> dict:
    """The JSON answer of one command; `ours.Failed` with its message when it does not succeed."""
    try:
        line = [arguments.fusebox, "--json", *command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=arguments.limit)
    except subprocess.TimeoutExpired:
        raise ours.Failed(f"{command[0]}: longer than {arguments.limit} s") from None
    if done.returncode == 0:
        return json.loads(done.stdout)
    try:
        message = json.loads(done.stdout)["error"]["message"]
    except (ValueError, KeyError):
        message = (done.stderr or done.stdout)[-REASON:]
    raise ours.Failed(f"{command[0]}: {message}")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norms = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norms) if norms > 0 else float(np.array_equal(a, b))


def difference(want: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> tuple[float, float]:
    """The least cosine of any output, and its largest error as a share of the output's largest magnitude."""
    if list(want) != list(got):
        raise ours.Failed(f"outputs are {list(got)}, not {list(want)}")
    least, worst = 1.0, 0.0
    for name, value in want.items():
        other = got[name]
        if value.shape != other.shape or value.dtype != other.dtype:
            raise ours.Failed(f"{name} is {other.dtype}{list(other.shape)}, not {value.dtype}{list(value.shape)}")
        if value.size == 0:
            continue
        known = np.isfinite(value) if value.dtype.kind == "f" else np.ones(value.shape, bool)
        if not np.array_equal(value[~known], other[~known], equal_nan=value.dtype.kind == "f"):
            raise ours.Failed(f"{name} is not finite in other places")
        value, other = value[known].astype(np.float64), other[known].astype(np.float64)
        if value.size:
            least = min(least, cosine(value, other))
            worst = max(worst, float(np.abs(value - other).max() / max(np.abs(value).max(), 1e-30)))
    return least, worst


def agreed(row: dict, key: str, want: dict, got: dict) -> None:
    least, worst = difference(want, got)
    row[f"{key}_cosine"], row[f"{key}_error"] = least, worst
    if not least >= COSINE:
        raise ours.Failed(f"{key}: cosine {least:.6f}, error {worst:.1e}")


def operators(path: Path) -> Counter:
    """Operators of the main graph and of the bodies inside, without those of functions."""
    found: Counter = Counter()
    graphs = [onnx.load(path, load_external_data=False).graph]
    while graphs:
        for node in graphs.pop().node:
            name = node.op_type.split("__")[0]
            found[name if node.domain != "ai.fusebox" else f"fused {name}"] += 1
            graphs += [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return found


def onnxruntime(arguments: argparse.Namespace, model: Path, inputs: Path, runs: int) -> tuple[dict, float]:
    """Its outputs and the seconds of a run; `ours.Failed` also where it crashes."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "outputs.npz"
        command = [sys.executable, Path(__file__).with_name("sweep_peer.py"), model, inputs, answers, str(runs)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=arguments.limit)
        except subprocess.TimeoutExpired:
            raise ours.Failed(f"longer than {arguments.limit} s") from None
        if done.returncode < 0:
            raise ours.Failed(f"ended by signal {-done.returncode}")
        if done.returncode > 0:
            raise ours.Failed(done.stderr.strip().splitlines()[-1])
        with np.load(answers) as arrays:
            return dict(arrays), float(done.stdout.split()[-1])


def profile(row: dict, arguments: argparse.Namespace, model: Path, sizes: list[str]) -> None:
    answer = fusebox(
        arguments, "bench", model, "--threads", "1", "--runs", str(RUNS), "--profile", "--top", "0", *sizes
    )
    row["seconds"] = answer["models"][0]["seconds"]["median"]
    row["in_segments"] = answer["models"][0]["plan"]["in_segments"]
    steps = answer["profile"]["steps"] if answer.get("profile") else []
    total = sum(step["seconds"] for step in steps) or 1.0
    slow = Counter()
    for step in steps:
        if step["fallback"]:
            slow[step["nodes"][0].rsplit("(", 1)[-1].rstrip(")")] += step["seconds"] / total
    row["without_kernel"] = {name: round(share, 4) for name, share in slow.most_common()}
    row["why_no_kernel"] = sorted(
        {f"{s['nodes'][0].rsplit('(', 1)[-1][:-1]}: {s['fallback']}" for s in steps if s["fallback"]}
    )
    row["steps"], row["steps_without_kernel"] = len(steps), sum(bool(s["fallback"]) for s in steps)


def examine(record: dict, arguments: argparse.Namespace) -> dict:
    """One row: as far as the model got."""
    row = {key: record.get(key) for key in ("name", "exporter", "library", "family", "dynamic", "attention")}
    stem = f"{record['name']}.{record['exporter']}"
    source = arguments.sweep / f"{stem}.onnx"
    inputs = arguments.sweep / f"{stem}.npz"
    try:
        want, row["peer_seconds"] = onnxruntime(arguments, source, inputs, RUNS)
    except ours.Failed as error:
        return row | {"stage": "onnxruntime", "reason": " ".join(str(error).split())[:REASON]}
    interface = {each.name for each in onnx.load(source, load_external_data=False).graph.input}
    with np.load(inputs) as arrays:
        feeds = {name: value for name, value in arrays.items() if name in interface}
    row["before"] = dict(operators(source))
    with tempfile.TemporaryDirectory() as folder:
        optimized, stage = Path(folder) / "optimized.onnx", "optimize"
        try:
            answer = fusebox(arguments, "optimize", source, "-o", optimized, *arguments.rules)
            row["nodes"] = [answer["before"]["nodes"], answer["after"]["nodes"]]
            row["after"] = dict(operators(optimized))
            stage = "run"
            agreed(row, "executor", want, ours.run(arguments.fusebox, optimized, feeds, Path(folder)))
            stage = "file"
            agreed(row, "file", want, onnxruntime(arguments, optimized, inputs, 0)[0])
            stage = "profile"
            profile(row, arguments, optimized, sizes_of(source, feeds))
        except ours.Failed as error:
            return row | {"stage": stage, "reason": " ".join(str(error).split())[:REASON]}
    return row | {"stage": "passed"}


def sizes_of(source: Path, feeds: dict[str, np.ndarray]) -> list[str]:
    """`--dim` for every named size of an input, as the given inputs have it."""
    sizes = {}
    for each in onnx.load(source, load_external_data=False).graph.input:
        for dim, size in zip(each.type.tensor_type.shape.dim, getattr(feeds.get(each.name), "shape", ()), strict=False):
            if dim.dim_param.isidentifier():
                sizes[dim.dim_param] = size
    return [part for name, size in sizes.items() for part in ("--dim", f"{name}={size}")]


def told(row: dict) -> str:
    start = f"{row['name']} {row['exporter']}: "
    if row["stage"] != "passed":
        return f"{start}{row['stage']}: {row['reason']}"
    before, after = row["nodes"]
    fused = sweep_page.attention(row) or "0"
    return (
        f"{start}{before} -> {after}, attention {fused}, left {sweep_page.left(row)}, no kernel {row['without_kernel']}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all that was exported")
    parser.add_argument("--sweep", type=Path, default=SWEEP, help="folder that corpus/export/sweep.py filled")
    parser.add_argument("--fusebox", type=Path, default=ours.BINARY)
    parser.add_argument("--exporter", choices=["dynamo", "torchscript"], help="default: both")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=120, help="seconds per command")
    parser.add_argument("--rules", action="append", default=[], help="rule file to try; repeat for several")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help=f"Markdown page; {PAGE.relative_to(ours.ROOT)} when all is run")
    arguments = parser.parse_args()
    arguments.rules = [part for file in arguments.rules for part in ("--rules", file)]
    if not arguments.names and not arguments.exporter:
        arguments.page = arguments.page or PAGE
    return arguments


def main() -> None:
    arguments = parse()
    records = [json.loads(path.read_text()) for path in sorted(arguments.sweep.glob("*.json"))]
    chosen = [each for each in records if not arguments.names or each["name"] in arguments.names]
    chosen = [each for each in chosen if arguments.exporter in (None, each["exporter"])]
    rows = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for row in pool.map(lambda each: examine(each, arguments), [each for each in chosen if each["exported"]]):
            rows.append(row)
            print(told(row), flush=True)
    refused = [each for each in chosen if not each["exported"]]
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "refused": refused}, indent=1) + "\n")
    if arguments.page:
        arguments.page.write_text(sweep_page.page(rows, refused))
    runnable = [row for row in rows if row["stage"] != "onnxruntime"]
    passed = sum(row["stage"] == "passed" for row in runnable)
    print(f"\n{passed} of {len(runnable)} that onnxruntime runs pass; {len(refused)} not exported")
    raise SystemExit(0 if passed >= 0.95 * len(runnable) else 1)


if __name__ == "__main__":
    main()
