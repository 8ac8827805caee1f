"""Writes what `tests/retrieval/pytorch_weights.rs` reads: weights of a SASRec and of a two-tower model in PyTorch, a few
histories, and the logits that PyTorch gives them. Run it anew with

    pip install torch safetensors && python tests/pytorch/write_weights.py
"""
import json
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = Path(__file__).parent
N_ITEMS, N_CATEGORIES, D, HEADS, BLOCKS, MAX_LEN, SCALES = 23, 4, 8, 2, 2, 6, 3
EPSILON = 1e-5
HISTORIES = [[3], [1, 5, 2], [7, 7, 0, 22, 11, 4], [20, 1, 2, 3, 4, 5, 6, 7, 8]]
CATEGORIES = [[i % N_CATEGORIES] if i % 3 else [0, 1 + i % 3] for i in range(N_ITEMS)]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.input, self.output = nn.Linear(D, 3 * D), nn.Linear(D, D)

    def forward(self, x):
        q, k, v = (part.view(len(x), HEADS, -1).transpose(0, 1) for part in self.input(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        return self.output(y.transpose(0, 1).reshape(len(x), D))


class Mlp(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(D, eps=EPSILON), Attention()
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(D, eps=EPSILON), Mlp(D, D, D)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class Sasrec(nn.Module):
    def __init__(self):
        super().__init__()
        self.items = nn.Embedding(N_ITEMS, D)
        self.positions = nn.Parameter(torch.randn(MAX_LEN, D))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(D, eps=EPSILON)

    def forward(self, history):
        history = torch.tensor(history[-MAX_LEN:])
        x = self.items(history) * D**0.5 + self.positions[MAX_LEN - len(history):]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[-1] @ self.items.weight.T


class Pooling(nn.Module):
    """Weighted means of the history, one for each scale."""

    width = SCALES * D

    def __init__(self):
        super().__init__()
        self.log_weights = nn.Parameter(torch.randn(SCALES, MAX_LEN))

    def forward(self, x):
        weights = self.log_weights.softmax(1)[:, : len(x)]
        return ((weights @ x.flip(0)) / weights.sum(1, keepdim=True)).flatten()


class Recurrent(nn.Module):
    """PyTorch's own GRU or LSTM; its last state."""

    width = 5

    def __init__(self, kind):
        super().__init__()
        self.layer = kind(D, self.width)

    def forward(self, x):
        return self.layer(x)[0][-1]


class TwoTower(nn.Module):
    """A query tower over a history, and an item tower over the id and the mean of the categories."""

    def __init__(self, history):
        super().__init__()
        self.items = nn.ModuleDict({"table": nn.Embedding(N_ITEMS + N_CATEGORIES, D)})
        self.history = history
        self.query_mlp, self.item_mlp = Mlp(history.width, 2 * D, D), Mlp(D, 2 * D, D)
        self.log_temperature = nn.Parameter(torch.tensor([0.3]))

    def embed(self, items):
        table = self.items["table"].weight
        rows = [table[i] + table[[N_ITEMS + c for c in CATEGORIES[i]]].mean(0) for i in items]
        return torch.stack(rows)

    def forward(self, history):
        query = F.normalize(self.query_mlp(self.history(self.embed(history[-MAX_LEN:]))), dim=-1)
        return F.normalize(self.item_mlp(self.embed(range(N_ITEMS))), dim=-1) @ query


# The names of a recurrent layer's weights here and in PyTorch.
RECURRENT = {
    "layer.weight_ih_l0": "input.weight",
    "layer.bias_ih_l0": "input.bias",
    "layer.weight_hh_l0": "state.weight",
    "layer.bias_hh_l0": "state.bias",
}


def renamed(name):
    for theirs, ours in RECURRENT.items():
        name = name.replace(theirs, ours)
    return name


torch.manual_seed(7)
expected = {"categories": CATEGORIES, "histories": HISTORIES}
models = {
    "sasrec": Sasrec(),
    "two_tower": TwoTower(Pooling()),
    "two_tower_gru": TwoTower(Recurrent(nn.GRU)),
    "two_tower_lstm": TwoTower(Recurrent(nn.LSTM)),
}
for name, model in models.items():
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        expected[name] = [model(history).tolist() for history in HISTORIES]
    save_file({renamed(key): weight for key, weight in model.state_dict().items()}, HERE / f"{name}.safetensors")
(HERE / "logits.json").write_text(json.dumps(expected))
