"""Architectures of the sweep: one module per library, each with its `ARCHITECTURES`.

Configurations are small: the sweep is about how graphs are written, not about how much they compute.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from recipe import Input

# Sizes of the named dims. No two alike, so that a wrong axis shows.
SIZES = {"batch": 2, "seq": 11, "target": 7}
TOKENS, TARGETS = ("batch", "seq"), ("batch", "target")


@dataclass(frozen=True)
class Architecture:
    """One model of the sweep. `build` imports its library, so that naming all of them costs nothing."""

    name: str
    library: str
    # What it stands for in the report: cnn, vit, encoder, decoder, encoder-decoder, audio, detection, …
    family: str
    build: Callable[[], nn.Module]
    inputs: tuple[Input, ...]
    opset: dict[str, int] = field(default_factory=lambda: {"dynamo": 20, "torchscript": 17})


def images(size: int = 64, channels: int = 3) -> tuple[Input, ...]:
    return (Input("image", ("batch", channels, size, size)),)


def ids(name: str = "input_ids", dims: tuple[str, ...] = TOKENS) -> Input:
    return Input(name, dims, "int64", fill="ids", below=96)


def mask(name: str = "attention_mask", dims: tuple[str, ...] = TOKENS) -> Input:
    return Input(name, dims, "int64", fill="ones")


def examples(inputs: tuple[Input, ...], seed: int = 1, larger: int = 0) -> list[torch.Tensor]:
    """One valid set of inputs, of sizes larger by as many as asked. Masks hide the end of the second row."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {name: size + larger for name, size in SIZES.items()}
    found = [each.sample(sizes, generator) for each in inputs]
    for each, value in zip(inputs, found, strict=True):
        if each.fill == "ones":
            value[-1, -2:] = 0
    return found


def tensors(found: object) -> list[torch.Tensor]:
    """The floating-point and integer tensors of whatever a module returned, in order."""
    if isinstance(found, torch.Tensor):
        return [found]
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, (tuple, list)):
        return [tensor for part in found for tensor in tensors(part)]
    return []  # None, caches, losses


class Named(nn.Module):
    """Gives a module positional inputs and a flat tuple of tensors: what exporters want."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, a, b=None, c=None, d=None):  # noqa: ANN001, ANN201
        given = [value for value in (a, b, c, d) if value is not None]
        return tuple(tensors(self.module(**dict(zip(self.names, given, strict=True)))))


class Positional(nn.Module):
    """The same for modules whose argument names do not matter."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image):  # noqa: ANN001, ANN201
        return tuple(tensors(self.module(image)))
