"""GPT-2-like decoders with a cache: transformers' own module, past in, present out."""

import torch
from torch import nn
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from recipe import Input, Recipe, Spelling
from weights import settle

TOKENS = ("batch", "seq")
TOTAL = "past_seq + seq"


class Decoder(nn.Module):
    """Exporters want tensors where transformers has a cache object: keys and values of each layer, in turn."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.lm = GPT2LMHeadModel(config)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cache = DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        found = self.lm(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        present = [each for layer in found.past_key_values.layers for each in (layer.keys, layer.values)]
        return found.logits, *present


def decoder(width: int, layers: int, heads: int, context: int, vocabulary: int, spelling: str) -> nn.Module:
    config = GPT2Config(
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_positions=context,
        vocab_size=vocabulary,
        attn_implementation=spelling,
    )
    return settle(Decoder(config))


def recipe(name: str, shape: tuple[int, int, int, int, int], dynamo: Spelling, torchscript: Spelling) -> Recipe:
    width, layers, heads, _, vocabulary = shape
    cache = ("batch", heads, "past_seq", width // heads)
    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    return Recipe(
        name=name,
        build=lambda spelling: decoder(*shape, spelling),
        inputs=(
            Input("input_ids", TOKENS, "int64", fill="ids", below=vocabulary),
            Input("attention_mask", ("batch", TOTAL), "int64", fill="ones"),
            *(Input(f"past_key_values.{part}", cache) for part in parts),
        ),
        outputs=("logits", *(f"present.{part}" for part in parts)),
        sizes={"batch": 1, "seq": 3, "past_seq": 21, TOTAL: 24},
        dynamo=dynamo,
        torchscript=torchscript,
        purpose="decoder with a cache of keys and values: past in, present out, dynamic batch, sequence and past",
    )


RECIPES = [
    recipe("gpt_small", (128, 2, 4, 256, 1024), Spelling(20, "sdpa"), Spelling(17, "eager")),
    recipe("gpt2_base", (768, 12, 12, 1024, 50257), Spelling(20, "sdpa"), Spelling(17, "eager")),
]
