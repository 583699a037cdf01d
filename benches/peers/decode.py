"""Decodes the same model with Fusebox and with onnxruntime, in turns: tokens per second, and whether they agree.

    python benches/peers/decode.py gpt2_base --steps 64 --threads 1 4

Both start from the same prompt, take the most likely token, and feed what came out as present back in as past.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from models import ROOT
from ours import BINARY
from peer import session


def shape_of(value: onnxruntime.NodeArg, sizes: dict[str, int]) -> list[int]:
    total = sizes["past_seq"] + sizes["seq"]
    return [d if isinstance(d, int) else sizes.get(d, total) for d in value.shape]


def theirs(run: onnxruntime.InferenceSession, prompt: np.ndarray, steps: int) -> tuple[list[float], list[int]]:
    """Seconds of each step after the prompt, and the tokens."""
    ids, past, times, tokens = prompt, 0, [], []
    cache = {v.name: None for v in run.get_inputs() if v.name.startswith("past")}
    names = [v.name for v in run.get_outputs()]
    for step in range(steps + 1):
        sizes = {"batch": ids.shape[0], "seq": ids.shape[1], "past_seq": past}
        feeds = {"input_ids": ids}
        for value in run.get_inputs():
            if value.name.startswith("past"):
                found = cache[value.name]
                feeds[value.name] = np.zeros(shape_of(value, sizes), np.float32) if found is None else found
            elif "mask" in value.name:
                feeds[value.name] = np.ones((ids.shape[0], past + ids.shape[1]), np.int64)
        start = time.perf_counter()
        found = dict(zip(names, run.run(None, feeds), strict=True))
        cache = {name: found[name.replace("past_key_values", "present")] for name in cache}
        best = found["logits"][:, -1].argmax(-1)
        if step:
            times.append(time.perf_counter() - start)
        tokens += best.tolist()
        past, ids = past + ids.shape[1], best[:, None].astype(np.int64)
    return times, tokens


def ours(binary: Path, model: Path, threads: int, prompt: int, steps: int) -> dict:
    command = [binary, "bench", model, "--decode", str(steps), "--threads", str(threads), "--warmup", "1", "--json"]
    command += ["--dim", f"seq={prompt}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["decode"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a filled model of the corpus, or a path")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", type=Path, default=BINARY)
    arguments = parser.parse_args()
    given = Path(arguments.model)
    source = given if given.exists() else ROOT / "corpus" / "filled" / f"{arguments.model}.onnx"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        optimized = folder / "optimized.onnx"
        subprocess.run([arguments.binary, "optimize", source, "-o", optimized, "--no-verify", "-q"], check=True)
        for threads in arguments.threads:
            run = session(source, threads)
            left, right = [], []
            for _ in range(arguments.rounds):
                mine = ours(arguments.binary, optimized, threads, arguments.prompt, arguments.steps)
                left.append(mine["seconds"]["median"])
                times, tokens = theirs(run, np.array([mine["prompt"]], np.int64), arguments.steps)
                right.append(statistics.median(times))
                agree = sum(a == b for a, b in zip(mine["tokens"], tokens, strict=True))
            here, there = min(left), min(right)
            print(
                f"{source.stem}, {threads} thread{'s' * (threads > 1)}: fusebox {1 / here:.1f} tokens/s, "
                f"onnxruntime {1 / there:.1f} tokens/s, ratio of times {here / there:.2f}; "
                f"{agree} of {len(tokens)} tokens agree",
                flush=True,
            )


if __name__ == "__main__":
    main()
