"""SmallMind: decoder language models of the Llama family, small enough to commit."""

import torch
from torch import nn
from torch.nn import functional as F

from recipe import Input, Recipe, Spelling
from weights import settle

VOCABULARY = 1024
CONTEXT = 128


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding, halves apart."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, spelling: str) -> None:
        super().__init__()
        self.heads, self.spelling = heads, spelling
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, seq, width = x.shape
        split = (batch, seq, self.heads, width // self.heads)
        q, k, v = (layer(x).view(split).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if self.spelling == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(2, 3) * (width // self.heads) ** -0.5
            y = torch.softmax(scores.masked_fill(mask, float("-inf")), dim=-1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(batch, seq, width))


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, spelling: str) -> None:
        super().__init__()
        self.input_norm, self.post_norm = RMSNorm(width), RMSNorm(width)
        self.self_attn = Attention(width, heads, spelling)
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_norm(x), cos, sin, mask)
        y = self.post_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class SmallMind(nn.Module):
    """Token ids to logits; the output projection is tied to the embedding."""

    def __init__(self, width: int, layers: int, heads: int, hidden: int, spelling: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, hidden, spelling) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)
        self.lm_head.weight = self.embed.weight
        depth = width // heads
        frequencies = 10000.0 ** (-torch.arange(0, depth, 2) / depth)
        angles = torch.outer(torch.arange(CONTEXT), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("causal", torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        seq = input_ids.shape[1]
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, self.cos[:seq], self.sin[:seq], self.causal[:seq, :seq])
        return self.lm_head(self.norm(x))


def recipe(name: str, shape: tuple[int, int, int, int], dynamo: Spelling, torchscript: Spelling) -> Recipe:
    return Recipe(
        name=name,
        build=lambda spelling: settle(SmallMind(*shape, spelling)),
        inputs=(Input("input_ids", ("batch", "seq"), "int64", fill="ids", below=VOCABULARY),),
        outputs=("logits",),
        sizes={"batch": 1, "seq": 64},
        dynamo=dynamo,
        torchscript=torchscript,
        purpose="decoder: RMSNorm, rotary positions, causal mask, SwiGLU, tied embedding",
    )


RECIPES = [
    recipe("smallmind_small", (128, 2, 4, 272), Spelling(20, "eager"), Spelling(14, "sdpa")),
    recipe("smallmind_medium", (256, 4, 8, 696), Spelling(20, "sdpa"), Spelling(17, "eager")),
]
