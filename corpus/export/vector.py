"""Writes corpus/seeded_vector.json: what any implementation of the seeded generator must reproduce."""

import json
from pathlib import Path

import numpy as np

import seeded

PATH = Path(__file__).resolve().parent.parent / "seeded_vector.json"
CASES = [("medium_mlp:0.weight", 0.0, 0.02), ("bert_base:encoder", -0.125, 1.0), ("wraps", 1.0, 3.5e-4)]
COUNT = 10_000


def case(name: str, mean: float, std: float) -> dict:
    seed = seeded.fnv1a(name)
    mean, scale = np.float32(mean), seeded.scale_of(std)
    bits = seeded.normal(COUNT, seed, mean, scale).view(np.uint32)
    return {
        "name": name,
        "seed": str(seed),
        "mean": seeded.decimal(mean),
        "scale": seeded.decimal(scale),
        "first_8_bits": bits[:8].tolist(),
        "sum_of_first_10000_bits": int(bits.sum(dtype=np.uint64)),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps({"cases": [case(*each) for each in CASES]}, indent=2) + "\n")
