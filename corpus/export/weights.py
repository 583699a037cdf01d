"""Seeded weights under which a wrong fusion shows.

Default initialisation hides mistakes: gammas of one, betas and biases of zero and fresh BatchNorm statistics let a
rewrite lose them unnoticed, and weights of std 0.02 make every softmax uniform. So every such tensor gets a value of
its own, and the matrices keep activations near unit variance. Two kinds of projection are scaled further, as training
scales them: at equal gain a deep random transformer averages its tokens away, and all inputs give one output.
"""

import math
import re

import torch
from torch import nn

NORMS = (nn.LayerNorm, nn.GroupNorm)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Projections to queries and keys: sharper attention, a dozen tokens rather than all of them.
SHARP = re.compile(r"(query|key|q_proj|k_proj)$")
# Projections back into the residual stream: each layer adds to it and does not drown it.
RESIDUAL = re.compile(r"(output\.dense|out_proj|o_proj|down_proj|down|fc2|attn\.proj|mlp\.2)$")


def settle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Re-draws every parameter of `model` from `seed`, and puts it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    seen: set[int] = set()
    with torch.no_grad():
        for path, module in model.named_modules():
            gain = 1.25 if SHARP.search(path) else 0.35 if RESIDUAL.search(path) else 1.0
            _settle_module(module, gain, generator, seen)
    return model.eval()


def _settle_module(module: nn.Module, gain: float, generator: torch.Generator, seen: set[int]) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        if id(parameter) in seen:  # tied weights are drawn once
            continue
        seen.add(id(parameter))
        mean, std = _moments(module, name, parameter)
        parameter.normal_(mean, std * gain, generator=generator)
    if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
        module.running_mean.normal_(0.0, 0.2, generator=generator)
        module.running_var.uniform_(0.5, 2.0, generator=generator)


def _moments(module: nn.Module, name: str, parameter: torch.Tensor) -> tuple[float, float]:
    if isinstance(module, (*NORMS, *BATCH_NORMS)) or "norm" in type(module).__name__.lower():
        return (1.0, 0.15) if name == "weight" else (0.0, 0.15)
    if name.endswith("bias"):
        return 0.0, 0.1
    if isinstance(module, CONVS):
        return 0.0, math.sqrt(2.0 / parameter[0].numel())
    if isinstance(module, nn.Embedding):
        return 0.0, 0.2
    if isinstance(module, nn.Linear) or name.endswith("weight"):
        return 0.0, 1.0 / math.sqrt(parameter.shape[-1])
    return 0.0, 0.3  # class tokens and position tables
