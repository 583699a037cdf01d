"""Attention blocks, each in a spelling that real code bases use."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from recipe import Input, Recipe, Spelling
from weights import settle


class SelfAttention(nn.Module):
    """Separate Q, K and V projections; an optional additive mask."""

    def __init__(self, width: int, heads: int, spelling: str) -> None:
        super().__init__()
        self.heads, self.spelling = heads, spelling
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        batch, seq, width = x.shape
        split = (batch, seq, self.heads, width // self.heads)
        q, k, v = (layer(x).view(split).transpose(1, 2) for layer in (self.query, self.key, self.value))
        if self.spelling == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
            y = torch.softmax(scores if mask is None else scores + mask, dim=-1) @ v
        return self.output(y.transpose(1, 2).reshape(batch, seq, width))


class EncoderLayer(nn.Module):
    """BERT's layer: LayerNorm after each residual."""

    def __init__(self, width: int, heads: int, spelling: str) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, spelling)
        self.attention_norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.attention_norm(x + self.attention(x, mask))
        return self.output_norm(x + self.down(F.gelu(self.up(x))))


class MultilayerAttention(nn.Module):
    """Four encoder layers behind the mask that BERT wrote for years: (1 - mask) * -10000."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(128, 4, spelling) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        additive = (1.0 - mask[:, None, None, :]) * -10000.0
        for layer in self.layers:
            x = layer(x, additive)
        return x


class MergedAttention(nn.Module):
    """One projection for Q, K and V, cut apart by reshape and permute, as vision transformers do."""

    def __init__(self, width: int, heads: int, spelling: str) -> None:
        super().__init__()
        self.heads, self.spelling = heads, spelling
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, seq, width = x.shape
        depth = width // self.heads
        q, k, v = self.qkv(x).reshape(batch, seq, 3, self.heads, depth).permute(2, 0, 3, 1, 4).unbind(0)
        if self.spelling == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v)
        else:  # the scale goes on Q, before the product
            y = torch.softmax((q * depth**-0.5) @ k.transpose(-2, -1), dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(batch, seq, width))


class VisionBlock(nn.Module):
    """A vision transformer's block: LayerNorm before each branch."""

    def __init__(self, width: int, heads: int, spelling: str) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), MergedAttention(width, heads, spelling)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches by convolution, a class token, learned positions, `depth` blocks and a head on the class token."""

    def __init__(self, side: int, channels: int, patch: int, width: int, depth: int, heads: int, spelling: str) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(VisionBlock(width, heads, spelling) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class CrossAttention(nn.Module):
    """torch's own nn.MultiheadAttention, queries from one input, keys and values from the other."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(128, 8, batch_first=True)
        # Asking for the weights is what keeps nn.MultiheadAttention from calling the fused operator.
        self.weights = spelling == "eager"

    def forward(self, query: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self.attention(query, context, context, need_weights=self.weights)[0]


WIDE = ("batch", "seq", 128)
SEQUENCE = {"batch": 1, "seq": 64}

RECIPES = [
    Recipe(
        name="attention",
        build=lambda spelling: settle(SelfAttention(128, 4, spelling)),
        inputs=(Input("input", WIDE),),
        outputs=("output",),
        sizes=SEQUENCE,
        dynamo=Spelling(opset=20, attention="eager"),
        torchscript=Spelling(opset=14, attention="sdpa"),
        purpose="one self-attention block, scores divided by the root of the depth",
    ),
    Recipe(
        name="multilayer_attention",
        build=lambda spelling: settle(MultilayerAttention(spelling)),
        inputs=(Input("input", WIDE), Input("mask", ("batch", "seq"), fill="ones")),
        outputs=("output",),
        sizes=SEQUENCE,
        dynamo=Spelling(opset=18, attention="sdpa"),
        torchscript=Spelling(opset=14, attention="eager"),
        purpose="post-norm encoder layers: LayerNorm, GELU by Erf, additive mask",
    ),
    Recipe(
        name="vision_attention",
        build=lambda spelling: settle(VisionTransformer(32, 3, 8, 64, 2, 4, spelling)),
        inputs=(Input("input", ("batch", 3, 32, 32)),),
        outputs=("logits",),
        dynamo=Spelling(opset=20, attention="eager"),
        torchscript=Spelling(opset=17, attention="sdpa"),
        purpose="vision transformer: patches, class token, one merged Q/K/V projection",
    ),
    Recipe(
        name="cross_attention",
        build=lambda spelling: settle(CrossAttention(spelling)),
        inputs=(Input("query", WIDE), Input("context", ("batch", "context_seq", 128))),
        outputs=("output",),
        sizes={"batch": 1, "seq": 32, "context_seq": 48},
        dynamo=Spelling(opset=20, attention="eager"),
        # nn.MultiheadAttention reads lengths as Python numbers, which tracing freezes.
        torchscript=Spelling(opset=17, attention="sdpa", frozen=("seq", "context_seq")),
        purpose="attention from one sequence to another, projections packed in one weight",
    ),
]
