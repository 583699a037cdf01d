"""Fusebox as the comparisons drive it: its command line, and `bench --serve` as a child that waits for work."""

import json
import subprocess
from pathlib import Path

import numpy as np

from models import ROOT

BINARY = ROOT / "target" / "release" / "fusebox"
PRECISIONS = ["f32", "int8", "fp16", "bf16"]
TARGETS = ["fusebox", "onnx", "onnxruntime"]


class Failed(Exception):
    """A command of ours that did not succeed, with what it said."""


def call(binary: Path, *arguments: str | Path) -> None:
    done = subprocess.run([binary, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"fusebox {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")


def optimize(binary: Path, model: Path, output: Path, precision: str = "f32", target: str = "fusebox") -> None:
    lowered = [] if precision == "f32" else [f"--{precision}"]
    # The comparison is the verification: it must also see what `optimize` would have refused.
    call(binary, "optimize", model, "-o", output, "--target", target, "--no-verify", *lowered)


def run(binary: Path, model: Path, feeds: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The outputs of our own executor, by name."""
    inputs = []
    for index, (name, value) in enumerate(feeds.items()):
        path = folder / f"input{index}.npy"
        np.save(path, value)
        inputs += ["--input", f"{name}={path}"]
    call(binary, "run", model, *inputs, "-o", folder / "out.npz")
    with np.load(folder / "out.npz") as outputs:
        return dict(outputs)


class Server:
    """`fusebox bench MODEL --serve`: prints `ready {…}`, then answers each `run N` with one line of JSON."""

    def __init__(self, binary: Path, model: Path, threads: int, dims: dict[str, int]) -> None:
        sizes = [part for name, size in dims.items() for part in ("--dim", f"{name}={size}")]
        command = [binary, "bench", model, "--serve", "--threads", str(threads), *sizes]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        word, _, rest = self._line().partition(" ")
        if word != "ready":
            raise Failed(f"fusebox bench said {word!r} where `ready` was due")
        self.load_ms = json.loads(rest)["load_ms"]

    def times_us(self, runs: int) -> list[float]:
        self.child.stdin.write(f"run {runs}\n")
        self.child.stdin.flush()
        return json.loads(self._line())["times_us"]

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.stdin.write("quit\n")
            self.child.stdin.close()
        self.child.wait(timeout=30)

    def _line(self) -> str:
        line = self.child.stdout.readline()
        if not line:
            raise Failed(f"fusebox bench ended with {self.child.wait()}")
        return line.strip()
