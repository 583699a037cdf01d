"""Convolutional networks. Their BatchNormalization is kept apart from the convolutions, as training code leaves it."""

import torch
from torch import nn
from torchvision.models.efficientnet import MBConv, MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.models.resnet import BasicBlock

from recipe import Input, Recipe, Spelling
from weights import settle


def conv_bn(inputs: int, outputs: int, stride: int, activation: nn.Module) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), activation)


class SmallCnn(nn.Module):
    """Three convolutions and a classifier: about 20,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.conv3(x)).mean(dim=(2, 3))
        return self.classifier(x)


class ProductionResnet(nn.Module):
    """ResNet-18 without its last stage, torchvision's blocks: 3.0 M parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))
        self.layer2 = self._stage(64, 128)
        self.layer3 = self._stage(128, 256)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(256, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int) -> nn.Sequential:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs))
        return nn.Sequential(BasicBlock(inputs, outputs, 2, shortcut), BasicBlock(outputs, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def efficientnet_block() -> nn.Module:
    """A stem and EfficientNet's inverted bottleneck with squeeze-and-excitation: 19,000 parameters."""
    config = MBConvConfig(6, 3, 1, 32, 32, 1)
    return nn.Sequential(conv_bn(3, 32, 2, nn.SiLU()), MBConv(config, 0.0, nn.BatchNorm2d))


def mobilenet_block() -> nn.Module:
    """A stem and MobileNetV3's inverted residual with hardswish: 5,000 parameters."""
    config = InvertedResidualConfig(24, 3, 72, 24, False, "HS", 1, 1, 1.0)
    return nn.Sequential(conv_bn(3, 24, 2, nn.Hardswish()), InvertedResidual(config, nn.BatchNorm2d))


def recipe(name: str, build, side: int, opset: int, purpose: str) -> Recipe:
    frozen = ("batch",) if name == "production_resnet" else ()
    return Recipe(
        name=name,
        build=lambda _: settle(build()),
        inputs=(Input("input", ("batch", 3, side, side)),),
        outputs=("logits" if name in ("small_cnn", "production_resnet") else "features",),
        dynamo=Spelling(opset=20, optimize=False, frozen=frozen),
        torchscript=Spelling(opset=opset, optimize=False, frozen=frozen),
        purpose=purpose,
    )


RECIPES = [
    recipe(
        "small_cnn", SmallCnn, 32, 17, "Conv + ReLU with and without BatchNormalization, global average by ReduceMean"
    ),
    recipe("production_resnet", ProductionResnet, 224, 14, "Conv + BatchNormalization + residual + ReLU at real size"),
    recipe("efficientnet_block", efficientnet_block, 64, 17, "SiLU, depthwise convolution, squeeze-and-excitation"),
    recipe("mobilenet_block", mobilenet_block, 64, 13, "HardSwish (written out below opset 14), depthwise convolution"),
]
