"""What one corpus model is: how to build it, what goes in, and how each exporter is to spell it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

DTYPES = {"float32": torch.float32, "int64": torch.int64}


@dataclass(frozen=True)
class Input:
    """One graph input. A dim is a number, or the name of a dynamic dim that `Recipe.sizes` gives a size."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    # What a valid input looks like: "normal", "ones" (attention masks), "zeros", or "ids" (token ids < `below`).
    fill: str = "normal"
    below: int = 0

    def sample(self, sizes: dict[str, int], generator: torch.Generator) -> torch.Tensor:
        shape = [sizes[d] if isinstance(d, str) else d for d in self.shape]
        if self.fill == "ids":
            return torch.randint(0, self.below, shape, generator=generator)
        if self.fill in ("ones", "zeros"):
            return torch.full(shape, float(self.fill == "ones")).to(DTYPES[self.dtype])
        return torch.randn(shape, generator=generator)


@dataclass(frozen=True)
class Spelling:
    """The choices of one export that change how the graph is written."""

    opset: int
    # What the recipe's `build` receives: "eager" writes MatMul, Softmax, MatMul; "sdpa" calls torch's operator.
    attention: str = "none"
    # Named dims that this export freezes at `Recipe.sizes`; the others stay dynamic.
    frozen: tuple[str, ...] = ()
    # The exporter's own clean-up. Off where it would fold a BatchNormalization into its convolution.
    optimize: bool = True


@dataclass(frozen=True)
class Recipe:
    name: str
    build: Callable[[str], nn.Module]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    dynamo: Spelling
    torchscript: Spelling
    purpose: str
    # Sizes of the named dims in benchmarks, and in exports that freeze them.
    sizes: dict[str, int] = field(default_factory=lambda: {"batch": 1})

    def spelling(self, exporter: str) -> Spelling:
        return self.dynamo if exporter == "dynamo" else self.torchscript
