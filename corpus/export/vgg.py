"""VGG: the weight-bound case, where nearly all bytes are in two fully connected layers."""

from torch import nn
from torchvision.models import vgg11

from recipe import Input, Recipe, Spelling
from weights import settle


def vgg_production() -> nn.Module:
    """VGG-11 with 512 classes: 131 M parameters."""
    return vgg11(weights=None, num_classes=512, init_weights=False)


RECIPES = [
    Recipe(
        name="vgg_production",
        build=lambda _: settle(vgg_production()),
        inputs=(Input("input", ("batch", 3, 224, 224)),),
        outputs=("logits",),
        dynamo=Spelling(opset=18, frozen=("batch",)),
        torchscript=Spelling(opset=11, frozen=("batch",)),
        purpose="Conv + ReLU, and fully connected layers bound by memory bandwidth",
    ),
]
