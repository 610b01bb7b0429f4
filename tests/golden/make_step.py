#!/usr/bin/env python3
"""One training step of NeuNcut by PyTorch autograd, in float64: the outside check of every backend.

Only the forward formulas of the paper are written here; every gradient is autograd's and the update is
`torch.optim.Adam` itself, so nothing is shared with the engine it checks. Each problem becomes one .npz beside this
file (README.md says what it holds) and one entry of step.json.

Run `python3 tests/golden/make_step.py`: everything is drawn from fixed seeds, and nothing else is read.
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent

# Name: rows m, features d, hidden widths, clusters k. All odd, so that no tile, vector or warp is ever full; 129 is one
# more than the tile of every backend. One row is no problem for autograd: its loss is the same for every membership, and
# its gradients are rounding.
SHAPES = {
    "m7": (7, 3, (5,), 2),
    "m33": (33, 9, (13, 11), 3),
    "m129": (129, 5, (17,), 10),
}
EVERY = list(itertools.product(("ncut", "rcut"), ("squared", "frobenius"), ("through", "fixed")))
SETTINGS = {
    "m7": EVERY,
    "m33": EVERY,
    "m129": [("ncut", "squared", "through"), ("ncut", "frobenius", "through")],
}


def mlp(features, hidden, clusters, draw):
    """The network at the scale it starts with, but with biases that are not 0, so that a lost bias is seen."""
    widths = (features, *hidden)
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layer = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        nn.init.kaiming_uniform_(layer.weight, generator=draw)
        layers += [layer, nn.ReLU()]
    last = nn.Linear(widths[-1], clusters, dtype=torch.float64)
    nn.init.xavier_uniform_(last.weight, generator=draw)
    net = nn.Sequential(*layers, last)
    for layer in linears(net):
        nn.init.uniform_(layer.bias, -0.3, 0.3, generator=draw)
    return net


def linears(net):
    return [layer for layer in net if isinstance(layer, nn.Linear)]


def parameters(net):
    """`w0`, `b0`, `w1`, ... in the order in which `net.parameters()` gives them."""
    return {
        f"{letter}{number}": tensor
        for number, layer in enumerate(linears(net))
        for letter, tensor in (("w", layer.weight), ("b", layer.bias))
    }


def forward(x, net, sigma, gamma, cut, penalty, volumes):
    """Every quantity of one step, from the rows to the loss (equations 10, 11, 17 and 18 of the paper)."""
    squared_distance = (x[:, None, :] - x[None, :, :]).square().sum(2)
    affinity = torch.exp(-squared_distance / (2 * sigma**2))
    degrees = affinity.sum(1)
    logits = net(x)
    logits.retain_grad()
    y = torch.softmax(logits, 1)
    contraction = affinity @ y

    metric = degrees if cut == "ncut" else torch.ones_like(degrees)
    v = metric @ y + 1e-6
    held = v.detach() if volumes == "fixed" else v
    h = y / held.sqrt()
    laplacian = torch.diag(degrees) - affinity
    l_lap = torch.trace(h.T @ laplacian @ h)
    gap = h.T @ torch.diag(metric) @ h - torch.eye(y.shape[1], dtype=y.dtype)
    norm = torch.linalg.matrix_norm(gap)
    l_orth = norm.square() if penalty == "squared" else norm / y.shape[1]
    return {
        "affinity": affinity,
        "degrees": degrees,
        "contraction": contraction,
        "logits": logits,
        "membership": y,
        "volumes": v,
        "l_lap": l_lap,
        "l_orth": l_orth,
        "loss": l_lap + gamma / 2 * l_orth,
    }


def well_conditioned(x, net, out):
    """Whether a float32 backend takes the same branches as float64, and the affinity says something.

    A pre-activation within float32's rounding of 0 may fall on either side of the ReLU, and a gradient of about
    Adam's eps is divided by something as small as itself: both would test luck.
    """
    for layer in net[:-1]:
        x = layer(x)
        if isinstance(layer, nn.Linear) and x.abs().min() < 1e-4:
            return False
    for tensor in net.parameters():
        size = tensor.grad.abs()
        if ((size > 0) & (size < 1e-5)).any():
            return False
    m = len(out["affinity"])
    off_diagonal = out["affinity"][~torch.eye(m, dtype=bool)]
    return m == 1 or (off_diagonal.min() < 0.1 and off_diagonal.max() > 0.6 and 0.1 < off_diagonal.mean() < 0.6)


def problem(shape, setting, number, seed):
    """The inputs, settings and expected outputs of one step; None if the draw is not well conditioned."""
    m, d, hidden, k = SHAPES[shape]
    cut, penalty, volumes = setting
    draw = torch.Generator().manual_seed(seed)
    scalars = {
        "sigma": round(math.sqrt(d) * (0.9, 1.1)[number % 2], 3),
        # Large enough to matter beside L_lap, small enough that L_lap still shows in every gradient.
        "gamma": round((0.3, 1.5, 4.0)[number % 3] * (1 if penalty == "squared" else k), 3),
        "lr": (5e-3, 1e-3)[number % 2],
        # Far above what is usual: a decay of 1e-4 forgotten, or applied as AdamW does, would barely be seen.
        "weight_decay": (0.0, 0.05, 0.01)[number % 3],
        "step": (1, 7, 120, 1)[number % 4],
    }
    x = torch.randn(m, d, dtype=torch.float64, generator=draw)
    net = mlp(d, hidden, k, draw)
    weights = parameters(net)
    arrays = {"x": x} | {name: tensor.detach().clone() for name, tensor in weights.items()}

    options = {"lr": scalars["lr"], "weight_decay": scalars["weight_decay"], "eps": 1e-8}
    adam = torch.optim.Adam(net.parameters(), foreach=False, **options)
    if scalars["step"] > 1:
        for name, tensor in weights.items():
            arrays[f"m_{name}"] = 0.1 * torch.randn(tensor.shape, dtype=torch.float64, generator=draw)
            arrays[f"v_{name}"] = 0.001 + 0.02 * torch.rand(tensor.shape, dtype=torch.float64, generator=draw)
            adam.state[tensor] = {
                "step": torch.tensor(float(scalars["step"] - 1)),
                "exp_avg": arrays[f"m_{name}"].clone(),
                "exp_avg_sq": arrays[f"v_{name}"].clone(),
            }

    out = forward(x, net, scalars["sigma"], scalars["gamma"], cut, penalty, volumes)
    out["loss"].backward()
    if not well_conditioned(x, net, out):
        return None
    out["d_logits"] = out["logits"].grad
    for name, tensor in weights.items():
        out[f"d_{name}"] = tensor.grad.clone()
    adam.step()
    for name, tensor in weights.items():
        out[f"new_{name}"] = tensor
        out[f"new_m_{name}"] = adam.state[tensor]["exp_avg"]
        out[f"new_v_{name}"] = adam.state[tensor]["exp_avg_sq"]

    # It alone would be two thirds of the folder; the degrees and the contraction are sums over all of it.
    if m > 100:
        del out["affinity"]
    arrays |= {f"expect_{name}": tensor for name, tensor in out.items()}
    entry = scalars | {"cut": cut, "penalty": penalty, "volumes": volumes}
    return {name: tensor.detach().numpy() for name, tensor in arrays.items()}, entry


def main():
    # One thread: the order of PyTorch's sums, and so the last bit, then does not depend on the machine's cores.
    torch.set_num_threads(1)
    entries = []
    for shape, settings in SETTINGS.items():
        for number, setting in enumerate(settings):
            first_seed = 100_000 * len(entries)
            found = next(filter(None, (problem(shape, setting, number, seed) for seed in itertools.count(first_seed))))
            arrays, entry = found
            file = "-".join((*setting, shape)) + ".npz"
            np.savez(HERE / file, **arrays)
            entries.append({"file": file} | entry)
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    (HERE / "step.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
