"""BERT base, transformers' own module."""

import torch
from torch import nn
from transformers import BertConfig, BertModel

from recipe import Input, Recipe, Spelling
from weights import settle

TOKENS = ("batch", "seq")


class Bert(nn.Module):
    """Exporters want tensors where transformers returns a dataclass."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types)
        return found.last_hidden_state, found.pooler_output


def bert_base(spelling: str) -> nn.Module:
    return settle(Bert(BertConfig(attn_implementation=spelling)))


RECIPES = [
    Recipe(
        name="bert_base",
        build=bert_base,
        inputs=(
            Input("input_ids", TOKENS, "int64", fill="ids", below=30522),
            Input("attention_mask", TOKENS, "int64", fill="ones"),
            Input("token_type_ids", TOKENS, "int64", fill="zeros"),
        ),
        outputs=("last_hidden_state", "pooler_output"),
        sizes={"batch": 1, "seq": 128},
        dynamo=Spelling(opset=20, attention="sdpa"),
        torchscript=Spelling(opset=14, attention="eager"),
        purpose="post-norm encoder with embeddings, dynamic batch and sequence, padding mask",
    ),
]
