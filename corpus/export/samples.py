"""Valid inputs for a model of the manifest."""

import numpy as np


def sizes_of(entry: dict) -> dict[str, int]:
    """The manifest's sizes of the dims that are dynamic in this file."""
    dynamic = {dim for each in entry["inputs"] for dim in each["shape"] if isinstance(dim, str)}
    return {dim: size for dim, size in entry["sizes"].items() if dim in dynamic}


def feeds(entry: dict, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """One value per input: token ids within the embedding, masks of ones, numbers from a bell curve."""
    return {each["name"]: _sample(each, entry["sizes"], generator) for each in entry["inputs"]}


def _sample(each: dict, sizes: dict[str, int], generator: np.random.Generator) -> np.ndarray:
    shape = [sizes[dim] if isinstance(dim, str) else dim for dim in each["shape"]]
    match each["fill"]:
        case "ids":
            return generator.integers(0, each["below"], shape, dtype=np.int64)
        case "ones":
            return np.ones(shape, each["dtype"])
        case "zeros":
            return np.zeros(shape, each["dtype"])
    return generator.standard_normal(shape, dtype=np.float32)
