"""Two classifiers trained for real on scikit-learn's bundled digits, so that a lost percent is a fact."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

from attention import VisionTransformer
from recipe import Input, Recipe, Spelling

EPOCHS, BATCH, SEED = 120, 64, 7
RATE = 2e-3


class DigitsCnn(nn.Module):
    """Conv + BatchNormalization + ReLU, three times, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv3, self.bn3 = nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(48 * 2 * 2, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.pool(torch.relu(self.bn2(self.conv2(x))))
        x = self.pool(torch.relu(self.bn3(self.conv3(x))))
        return self.fc(torch.flatten(x, 1))


def untrained(kind: str, spelling: str) -> nn.Module:
    if kind == "cnn":
        return DigitsCnn()
    model = VisionTransformer(side=8, channels=1, patch=2, width=48, depth=2, heads=4, spelling=spelling)
    nn.init.normal_(model.pos_embed, std=0.02)
    nn.init.normal_(model.cls_token, std=0.02)
    return model


@cache
def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train and test images [N,1,8,8] in 0..1 and labels; 540 of the 1,797 samples are for testing."""
    data = load_digits()
    images = (data.images / 16.0).astype(np.float32)[:, None]
    labels = data.target.astype(np.int64)
    return train_test_split(images, labels, test_size=0.3, random_state=SEED, stratify=labels)


def save_test_split(folder: Path) -> None:
    _, images, _, labels = split()
    np.save(folder / "digits_test_images.npy", images)
    np.save(folder / "digits_test_labels.npy", labels)


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Moves most images by up to one pixel: 1,257 samples alone do not teach a transformer that position varies."""
    padded = F.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator)
    offsets[torch.rand(len(images), generator=generator) > 0.7] = 1  # one is the middle
    return torch.stack([image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, offsets.tolist(), strict=True)])


@cache
def trained(kind: str) -> dict[str, torch.Tensor]:
    """The weights of one classifier. Trained once per process: both exporters get the same."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    torch.set_num_threads(1)  # sums in one order, so that the weights come out alike
    model = untrained(kind, "eager")
    images, _, labels, _ = (torch.from_numpy(a) for a in split())
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for batch in order.split(BATCH)[: len(images) // BATCH]:
            loss = F.cross_entropy(model(shifted(images[batch], generator)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.state_dict()


def classifier(kind: str, spelling: str) -> nn.Module:
    model = untrained(kind, spelling)
    model.load_state_dict(trained(kind))
    return model.eval()


IMAGE = (Input("image", ("batch", 1, 8, 8)),)

RECIPES = [
    Recipe(
        name="digits_cnn",
        build=lambda spelling: classifier("cnn", spelling),
        inputs=IMAGE,
        outputs=("logits",),
        dynamo=Spelling(opset=20, optimize=False),
        torchscript=Spelling(opset=17, optimize=False),
        purpose="trained: accuracy of a CNN after fusion and quantization",
    ),
    Recipe(
        name="digits_vit",
        build=lambda spelling: classifier("vit", spelling),
        inputs=IMAGE,
        outputs=("logits",),
        dynamo=Spelling(opset=18, attention="sdpa"),
        torchscript=Spelling(opset=14, attention="eager"),
        purpose="trained: accuracy of a vision transformer after fusion and quantization",
    ),
]
