"""Whisper's encoder, transformers' own module in the published whisper-tiny configuration."""

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from recipe import Input, Recipe, Spelling
from weights import settle


class Whisper(nn.Module):
    """Exporters want tensors where transformers returns a dataclass."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.encoder = WhisperEncoder(config)

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        return self.encoder(input_features).last_hidden_state


def encoder(spelling: str) -> nn.Module:
    config = WhisperConfig(
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        num_mel_bins=80,
        max_source_positions=1500,
        attn_implementation=spelling,
    )
    return settle(Whisper(config))


RECIPES = [
    Recipe(
        name="whisper_tiny_encoder",
        build=encoder,
        inputs=(Input("input_features", ("batch", 80, 3000)),),
        outputs=("last_hidden_state",),
        # The benchmarked file is as small as a graph gets; the other keeps its batch for throughput.
        dynamo=Spelling(opset=18, attention="sdpa", frozen=("batch",)),
        torchscript=Spelling(opset=17, attention="eager"),
        purpose="pre-norm encoder over 1500 frames: Conv1d stem, long attention, GELU by Erf",
    ),
]
