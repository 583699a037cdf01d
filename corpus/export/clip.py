"""CLIP's vision tower, transformers' own module in the ViT-B/32 configuration."""

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from recipe import Input, Recipe, Spelling
from weights import settle


class ClipVision(nn.Module):
    """Exporters want tensors where transformers returns a dataclass."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.clip = CLIPVisionModelWithProjection(config)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.clip(pixel_values)
        return found.image_embeds, found.last_hidden_state


def vision_tower(spelling: str) -> nn.Module:
    config = CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        patch_size=32,
        projection_dim=512,
        attn_implementation=spelling,
    )
    return settle(ClipVision(config))


RECIPES = [
    Recipe(
        name="clip_vit_b32",
        build=vision_tower,
        inputs=(Input("pixel_values", ("batch", 3, 224, 224)),),
        outputs=("image_embeds", "last_hidden_state"),
        dynamo=Spelling(opset=20, attention="eager", frozen=("batch",)),
        torchscript=Spelling(opset=14, attention="sdpa"),
        purpose="pre-norm vision transformer, GELU in its sigmoid spelling, two outputs",
    ),
]
