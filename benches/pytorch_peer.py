"""The workloads of `benches/workloads` in PyTorch, as its users write them, for `cargo bench --bench versus_pytorch`.

    python3 pytorch_peer.py THREADS [DEVICE]

Reads lines `WORKLOAD N_STEPS` from standard input and answers each with the milliseconds of every step, on one line; on a
device other than the CPU, where steps are queued, with those of all steps together. Ids are drawn outside the timed
part; a step is the forward pass, the backward pass and the optimizer.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

D, DROPOUT = 64, 0.2
DEVICE = torch.device(sys.argv[2] if len(sys.argv) > 2 else "cpu")
N_ITEMS = 3417


def randint(bound, *shape):
    return torch.randint(0, bound, shape)


class Tower(nn.Module):
    def __init__(self, n, sparse):
        super().__init__()
        self.table = nn.Embedding(n, D, sparse=sparse)
        nn.init.normal_(self.table.weight, std=0.1)
        self.mlp = nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))

    def forward(self, ids):
        return F.normalize(self.mlp(self.table(ids)), dim=-1)


def two_tower(n_users, n_items, batch, sparse=False):
    users, items = Tower(n_users, sparse).to(DEVICE), Tower(n_items, sparse).to(DEVICE)
    tables = [users.table.weight, items.table.weight]
    others = [*users.mlp.parameters(), *items.mlp.parameters()]
    adam = lambda parameters: torch.optim.Adam(parameters, lr=1e-3, fused=True)
    if sparse:
        optimizers = [torch.optim.SparseAdam(tables, lr=1e-3), adam(others)]
    else:
        optimizers = [adam(tables + others)]

    def draw():
        return randint(n_users, batch), randint(n_items, batch)

    def loss(u, i):
        return F.cross_entropy(users(u) @ items(i).T * 10, torch.arange(batch, device=DEVICE))

    return draw, loss, optimizers


def full_softmax():
    rows = (torch.randn(6400, D, device=DEVICE) * 0.3).requires_grad_()
    items = (torch.randn(N_ITEMS, D, device=DEVICE) * 0.3).requires_grad_()

    def draw():
        rows.grad = items.grad = None
        return (randint(N_ITEMS, 6400),)

    return draw, lambda target: F.cross_entropy(rows @ items.T, target), []


class Block(nn.Module):
    def __init__(self, heads=2):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x, mask, keep):
        b, l, _ = x.shape
        q, k, v = self.qkv(self.norm_1(x)).view(b, l, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=DROPOUT)
        x = x + F.dropout(self.out(y.transpose(1, 2).reshape(b, l, D)), DROPOUT)
        y = F.dropout(F.relu(self.up(self.norm_2(x))), DROPOUT)
        return (x + F.dropout(self.down(y), DROPOUT)) * keep


class Sasrec(nn.Module):
    def __init__(self, length):
        super().__init__()
        self.items, self.positions = nn.Embedding(N_ITEMS + 1, D, padding_idx=0), nn.Embedding(length, D)
        nn.init.normal_(self.items.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.LayerNorm(D)
        self.register_buffer("causal", torch.ones(length, length, dtype=torch.bool).tril())
        self.register_buffer("eye", torch.eye(length, dtype=torch.bool))

    def forward(self, x):
        keep = x != 0
        # A padding query attends to itself only: no NaN, and its output is zeroed.
        mask = ((self.causal & keep[:, None, :]) | self.eye)[:, None]
        keep = keep[..., None].float()
        h = F.dropout(self.items(x) * D**0.5 + self.positions.weight, DROPOUT) * keep
        for block in self.blocks:
            h = block(h, mask, keep)
        return self.norm(h)


def sasrec(loss_name, length, padded=True, batch=128):
    model = Sasrec(length).to(DEVICE)

    def draw():
        lengths = torch.randint(length // 2, length + 1, (batch, 1)) if padded else torch.tensor([[length]])
        keep = torch.arange(length) >= length - lengths
        return [torch.randint(1, N_ITEMS + 1, (batch, length)) * keep for _ in range(3)]

    def loss(x, positive, negative):
        h = model(x)
        selected = positive != 0
        h, positive = h[selected], positive[selected]
        if loss_name == "full":
            return F.cross_entropy(h @ model.items.weight[1:].T, positive - 1)
        negative = negative[selected]
        logits = [(h * model.items(ids)).sum(-1) for ids in (positive, negative)]
        return -(F.logsigmoid(logits[0]) + F.logsigmoid(-logits[1])).mean()

    return draw, loss, [torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)]


FIELDS = [6040, 3706, 2, 7, 21, 700, 18, 81]
D_FIELD, HISTORY, CROSS = 16, 50, 3


def perceptron(*widths, activation=nn.ReLU):
    pairs = zip(widths, widths[1:])
    return [layer for a, b in pairs for layer in (nn.Linear(a, b), activation())]


class Fields(nn.Module):
    """One table of all fields, and a perceptron of 256 and 128 units."""

    def __init__(self, n_inputs):
        super().__init__()
        self.table = nn.Embedding(sum(FIELDS), D_FIELD)
        nn.init.normal_(self.table.weight, std=0.01)
        self.deep = nn.Sequential(*perceptron(n_inputs * D_FIELD, 256, 128))
        self.out = nn.Linear(128, 1)


class DeepFm(Fields):
    def __init__(self):
        super().__init__(len(FIELDS))
        self.linear = nn.Embedding(sum(FIELDS), 1)
        nn.init.zeros_(self.linear.weight)

    def forward(self, ids):
        e = self.table(ids)
        pairs = 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)
        return self.linear(ids).sum((1, 2)) + pairs + self.out(self.deep(e.flatten(1))).squeeze(1)


class DcnV2(Fields):
    def __init__(self):
        super().__init__(len(FIELDS))
        d = len(FIELDS) * D_FIELD
        self.cross = nn.ModuleList(nn.Linear(d, d) for _ in range(CROSS))
        self.out = nn.Linear(d + 128, 1)

    def forward(self, ids):
        x_0 = x = self.table(ids).flatten(1)
        for layer in self.cross:
            x = x_0 * layer(x) + x
        return self.out(torch.cat([x, self.deep(x_0)], 1)).squeeze(1)


class Din(Fields):
    def __init__(self):
        super().__init__(len(FIELDS) + 1)
        self.unit = nn.Sequential(*perceptron(4 * D_FIELD, 64, 32), nn.Linear(32, 1))

    def forward(self, ids, history):
        e, keys = self.table(ids), self.table(history)
        query = e[:, 1:2].expand_as(keys)
        weights = self.unit(torch.cat([query, keys, query - keys, query * keys], -1))
        interest = (weights * keys).sum(1)
        return self.out(self.deep(torch.cat([e.flatten(1), interest], 1))).squeeze(1)


def ranking(model, batch=4096):
    model = model.to(DEVICE)
    starts = [sum(FIELDS[:field]) for field in range(len(FIELDS))]

    def draw():
        ids = torch.stack([start + randint(n, batch) for start, n in zip(starts, FIELDS)], 1)
        history = [starts[1] + randint(FIELDS[1], batch, HISTORY)] if isinstance(model, Din) else []
        return ids, *history, randint(2, batch).float()

    def loss(*inputs):
        return F.binary_cross_entropy_with_logits(model(*inputs[:-1]), inputs[-1])

    return draw, loss, [torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)]


WORKLOADS = {
    "deep_fm": lambda: ranking(DeepFm()),
    "dcn_v2": lambda: ranking(DcnV2()),
    "din": lambda: ranking(Din()),
    "full_softmax": full_softmax,
    "two_tower_b1024": lambda: two_tower(6040, 3706, 1024),
    "two_tower_b2048": lambda: two_tower(6040, 3706, 2048),
    "large_tables_dense": lambda: two_tower(100_000, 434_000, 1024),
    "large_tables": lambda: two_tower(100_000, 434_000, 1024, sparse=True),
}


def workload(name):
    """One of WORKLOADS, or sasrec_{bce|full}_l{length}[_b{batch, else 128}][_unpadded]."""
    if name in WORKLOADS:
        return WORKLOADS[name]()
    _, loss_name, length, *options = name.split("_")
    batch = next((int(option[1:]) for option in options if option.startswith("b")), 128)
    return sasrec(loss_name, int(length[1:]), "unpadded" not in options, batch)


def step(batch, loss, optimizers):
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss(*(ids.to(DEVICE) for ids in batch)).backward()
    for optimizer in optimizers:
        optimizer.step()


def times(n_steps, draw, loss, optimizers):
    """Milliseconds of every step, or of all together."""
    if DEVICE.type == "cpu":
        for _ in range(n_steps):
            batch = draw()
            start = time.perf_counter()
            step(batch, loss, optimizers)
            yield 1e3 * (time.perf_counter() - start)
        return
    batches = [draw() for _ in range(n_steps)]
    torch.accelerator.synchronize()
    start = time.perf_counter()
    for batch in batches:
        step(batch, loss, optimizers)
    torch.accelerator.synchronize()
    yield 1e3 * (time.perf_counter() - start)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(1)
    made, current = None, None
    for line in sys.stdin:
        name, n_steps = line.split()
        if current != name:
            made, current = None, None
            made, current = workload(name), name
        print(*(f"{t:.4f}" for t in times(int(n_steps), *made)), flush=True)


if __name__ == "__main__":
    main()
