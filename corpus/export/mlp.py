"""Fully connected networks."""

from torch import nn

from recipe import Input, Recipe, Spelling
from weights import settle


class MediumMlp(nn.Sequential):
    """784 → 512 → 256 → 10, the classic MNIST shape: 535,818 parameters."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))


RECIPES = [
    Recipe(
        name="medium_mlp",
        build=lambda _: settle(MediumMlp()),
        inputs=(Input("input", ("batch", 784)),),
        outputs=("logits",),
        dynamo=Spelling(opset=20),
        torchscript=Spelling(opset=14),
        purpose="Linear + ReLU chains; the smallest model with a real GEMM",
    ),
]
