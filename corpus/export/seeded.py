"""The seeded tensor generator of corpus/README.md: the same bits here and in Rust."""

import math

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# A sum of four uniform 16-bit lanes has mean 2 * 65535 and this standard deviation.
LANES_MEAN = 131070
LANES_STD = math.sqrt(4 * (65536**2 - 1) / 12)


def fnv1a(text: str) -> int:
    """FNV-1a, 64 bits, over the UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def mix(z: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer; u64 array arithmetic wraps."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def normal(count: int, seed: int, mean: np.float32, scale: np.float32) -> np.ndarray:
    """`count` values of a bell curve. Multiply and add round separately, so no FMA may be used anywhere."""
    out = np.empty(count, np.float32)
    block = 1 << 20  # keeps the u64 temporaries in cache-sized memory for tensors of 100 M elements
    for start in range(0, count, block):
        index = np.arange(start + 1, min(start + block, count) + 1, dtype=np.uint64)
        lanes = mix(np.uint64(seed) + index * GOLDEN).view(np.uint16).reshape(-1, 4)
        centred = lanes.sum(axis=1, dtype=np.int64) - LANES_MEAN
        out[start : start + len(index)] = centred.astype(np.float32) * scale + mean
    return out


def scale_of(std: float) -> np.float32:
    return np.float32(std / LANES_STD)


def decimal(value: np.float32) -> str:
    """Nine significant digits, which name one f32 and no other."""
    text = f"{value:.9g}"
    assert np.float32(text) == value, f"{text} does not parse back to {value!r}"
    return text
