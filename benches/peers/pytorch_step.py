#!/usr/bin/env python3
"""One full NeuNcut training step in PyTorch on the CPU: the other side of our step's ratio.

Full means: heat kernel of the batch, network forward, contraction, loss (normalised cut, squared penalty, volumes
differentiated through), backward, Adam; all in float32. Drawing the batch is left out. The step is written as one who
wants it fast would write it: squared distances from one matrix product, no gradient through the kernel, in-place where
autograd allows. Adam is tried in each of PyTorch's variants; the loss as it is, with torch.compile, and with its matrix
products sent to oneDNN by hand: PyTorch gives float32 products to MKL, which keeps to AVX2 on processors that are not
Intel's, where the oneDNN in the same wheel uses AVX-512. All of them take turns, so that noise hits all alike, and all
are reported, with the machine's load average from before.

Prints one JSON line. To know first that both sides compute the same step:

    pytorch_step.py --write step.npz --repeats 0
    neuncut step --problem step.npz -o out.npz --device cpu --precision fp32 --sigma 1 --gamma 0.3 \\
        --penalty squared --volumes through --cut ncut --lr 0.001 --weight-decay 0.0001 --step 1
    pytorch_step.py --problem step.npz --check out.npz
"""

import argparse
import functools
import itertools
import json
import os
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn

ADAMS = {"adam": {"foreach": False}, "adam foreach": {"foreach": True}, "adam fused": {"fused": True}}


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--dims", type=int, default=500)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--hidden", type=lambda text: [int(width) for width in text.split(",")], default=[512, 512])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50, help="timed steps of each variant; 0 times nothing")
    parser.add_argument("--warm-up", type=int, default=10, help="untimed steps of each variant before")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (it needs a C++ compiler)")
    parser.add_argument("--sigma", type=float, default=1.0)
    parser.add_argument("--gamma", type=float, default=0.3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", metavar="NPZ", help="write the drawn problem for `neuncut step --problem`")
    parser.add_argument("--problem", metavar="NPZ", help="take rows and parameters from here instead of drawing them")
    parser.add_argument("--check", metavar="NPZ", help="what `neuncut step` made of --problem; exit code 1 if it differs")
    chosen = parser.parse_args()
    if chosen.check and not chosen.problem:
        parser.error("--check needs the --problem that it answers")
    return chosen


def draw(chosen):
    """Unit rows around `clusters` directions, and a network at its initial scale."""
    random = np.random.default_rng(chosen.seed)
    centres = random.standard_normal((chosen.clusters, chosen.dims))
    x = centres[np.arange(chosen.rows) % chosen.clusters] + random.standard_normal((chosen.rows, chosen.dims))
    arrays = {"x": x / np.linalg.norm(x, axis=1, keepdims=True)}
    widths = [chosen.dims, *chosen.hidden, chosen.clusters]
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        is_last = layer == len(widths) - 2
        bound = np.sqrt(6 / (fan_in + fan_out) if is_last else 6 / fan_in)
        arrays[f"w{layer}"] = random.uniform(-bound, bound, (fan_out, fan_in))
        arrays[f"b{layer}"] = np.zeros(fan_out)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def one_dnn(a, b, bias=None):
    """`a @ b.T + bias`."""
    dense = (a.contiguous().to_mkldnn(), b.contiguous().to_mkldnn(), None if bias is None else bias.to_mkldnn())
    return torch.ops.aten.mkldnn_linear(*dense).to_dense()


class OneDnnProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return one_dnn(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        d_x = one_dnn(gradient, weight.T) if ctx.needs_input_grad[0] else None
        return d_x, one_dnn(gradient.T, x.T), gradient.sum(0)


class OneDnnLinear(nn.Linear):
    def forward(self, x):
        return OneDnnProduct.apply(x, self.weight, self.bias)


def network(arrays, dtype, linear=nn.Linear):
    layers = []
    for number in itertools.takewhile(lambda number: f"w{number}" in arrays, itertools.count()):
        weight = torch.tensor(arrays[f"w{number}"], dtype=dtype)
        layer = linear(weight.shape[1], weight.shape[0], dtype=dtype)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.tensor(arrays[f"b{number}"]))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def squared_distance(x):
    squared = x.square().sum(1)
    return torch.addmm(squared[:, None] + squared[None, :], x, x.T, alpha=-2)


def squared_distance_one_dnn(x):
    squared = x.square().sum(1)
    return (squared[:, None] + squared[None, :]).sub_(one_dnn(x, x), alpha=2)


def loss_of(net, x, sigma, gamma, distance=squared_distance):
    with torch.no_grad():
        a = distance(x).clamp_(min=0).mul_(-1 / (2 * sigma**2)).exp_().fill_diagonal_(1)
        degrees = a.sum(1, keepdim=True)
    y = torch.softmax(net(x), 1)
    weighted = degrees * y
    v = weighted.sum(0) + 1e-6
    l_lap = ((y * (weighted - a @ y)).sum(0) / v).sum()
    root = v.sqrt()
    gap = (y.T @ weighted) / (root[:, None] * root) - torch.eye(len(v), dtype=y.dtype)
    return l_lap + gamma / 2 * gap.square().sum()


def step_of(loss_function, net, adam, x, chosen):
    def step():
        adam.zero_grad()
        loss = loss_function(net, x, chosen.sigma, chosen.gamma)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def adam_of(net, chosen, **variant):
    return torch.optim.Adam(net.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay, **variant)


def one_step(arrays, chosen, dtype):
    """The loss before, and what the step added to each parameter (in float64, so that the difference is exact)."""
    net = network(arrays, dtype)
    x = torch.tensor(arrays["x"], dtype=dtype)
    loss = step_of(loss_of, net, adam_of(net, chosen), x, chosen)()
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    new = {"loss": np.float64(loss)}
    for number, layer in enumerate(layers):
        for name, tensor in ((f"w{number}", layer.weight), (f"b{number}", layer.bias)):
            new[f"new_{name}"] = tensor.detach().numpy().astype(np.float64)
    return changes(arrays, new)


def changes(arrays, new):
    before = {"loss": 0.0} | {f"new_{name}": arrays[name].astype(np.float64) for name in arrays if name[0] in "wb"}
    return {name: new[name].astype(np.float64) - before[name] for name in before}


def check(arrays, chosen):
    """Our step against PyTorch in float64: it may be off by twice what PyTorch in float32 is, plus 16 roundings.

    The Euclidean norm is compared, not the largest difference: Adam's first step has the size of lr whatever the
    gradient, so where a gradient is rounding, so is the sign of its step. And PyTorch's worst parameter counts for
    all of them: on a bias of a few numbers it may be right by luck.
    """
    exact = one_step(arrays, chosen, torch.float64)
    ours = distances(changes(arrays, np.load(chosen.check)), exact)
    plain = distances(one_step(arrays, chosen, torch.float32), exact)
    worst = max(plain[name] for name in plain if name != "loss")
    return {
        name: {"error": error, "allowed": 2 * (plain["loss"] if name == "loss" else worst) + 16 * 2.0**-24}
        for name, error in ours.items()
    }


def distances(found, exact):
    return {name: float(np.linalg.norm(found[name] - exact[name]) / np.linalg.norm(exact[name])) for name in exact}


def time_all(steps, chosen):
    first = {name: step() for name, step in steps.items()}
    if not np.allclose(list(first.values()), next(iter(first.values())), rtol=1e-5):
        sys.exit(f"the variants do not compute the same loss: {first}")
    for step in steps.values():
        for _ in range(chosen.warm_up):
            step()
    times = {name: [] for name in steps}
    for _ in range(chosen.repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: {"median_ms": statistics.median(each), "min_ms": min(each), "max_ms": max(each)}
        for name, each in times.items()
    }


def steps_of(arrays, chosen):
    x = torch.tensor(arrays["x"], dtype=torch.float32)
    losses = {
        "eager": (nn.Linear, loss_of),
        "oneDNN": (OneDnnLinear, functools.partial(loss_of, distance=squared_distance_one_dnn)),
    }
    if not chosen.no_compile:
        losses["compiled"] = (nn.Linear, torch.compile(loss_of))
    steps = {}
    for (mode, (linear, loss_function)), (name, variant) in itertools.product(losses.items(), ADAMS.items()):
        net = network(arrays, torch.float32, linear)
        steps[f"{mode}, {name}"] = step_of(loss_function, net, adam_of(net, chosen, **variant), x, chosen)
    return steps


def main():
    chosen = options()
    torch.set_num_threads(chosen.threads)
    arrays = dict(np.load(chosen.problem)) if chosen.problem else draw(chosen)
    if chosen.write:
        np.savez(chosen.write, **arrays)
    rows, dims = arrays["x"].shape
    layers = sum(name[0] == "b" for name in arrays)
    report = {
        "peer": f"PyTorch {torch.__version__}",
        "rows": rows,
        "dims": dims,
        "hidden": [len(arrays[f"b{layer}"]) for layer in range(layers - 1)],
        "clusters": len(arrays[f"b{layers - 1}"]),
        "threads": chosen.threads,
        "repeats": chosen.repeats,
        "load": os.getloadavg()[0],
    }
    agrees = True
    if chosen.check:
        report["check"] = check(arrays, chosen)
        agrees = all(entry["error"] <= entry["allowed"] for entry in report["check"].values())
    if chosen.repeats and agrees:
        report["times"] = time_all(steps_of(arrays, chosen), chosen)
        report["fastest"] = min(report["times"], key=lambda name: report["times"][name]["median_ms"])
    print(json.dumps(report))
    if not agrees:
        sys.exit("the two sides do not compute the same step: see \"check\"")


if __name__ == "__main__":
    main()
